package logstore

import (
	"bytes"
	"iter"

	"github.com/hashicorp/raft"
)

// Entries reads and verifies the log of a store that no process has open, entry by entry, without bbolt. An error is
// the last that it yields. The entries are the caller's own. A file that is empty has none.
func Entries(path string) iter.Seq2[raft.Log, error] {
	return func(yield func(raft.Log, error) bool) {
		f, err := openFile(path)
		if err != nil {
			yield(raft.Log{}, err)
			return
		}
		if f == nil {
			return
		}
		defer f.close() // it was only read
		goesOn := true
		_, err = f.verify(func(log *raft.Log) bool {
			log.Data, log.Extensions = bytes.Clone(log.Data), bytes.Clone(log.Extensions)
			goesOn = yield(*log, nil)
			return goesOn
		})
		if err != nil && goesOn {
			yield(raft.Log{}, err)
		}
	}
}
