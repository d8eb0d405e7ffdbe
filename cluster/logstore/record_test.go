package logstore

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/hashicorp/raft"
)

// Numbers are summed as their bytes would be: what is on disk depends on it.
func TestSumsOfNumbers(t *testing.T) {
	log := &raft.Log{Index: 1<<40 + 7, Term: 1<<33 + 5, Type: raft.LogConfiguration, Data: []byte("data")}
	head := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, log.Index), log.Term)
	if got, want := sumOf(log), crc32.Checksum(append(append(head, byte(log.Type)), log.Data...), castagnoli); got != want {
		t.Errorf("%#x, should be %#x", got, want)
	}
	block := make([]byte, blockSize)
	block[100] = 7
	place := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 3), 1<<20)
	if got, want := blockSum(3, 1<<20, block), crc32.Checksum(append(place, block[sumSize:]...), castagnoli); got != want {
		t.Errorf("%#x, should be %#x", got, want)
	}
}
