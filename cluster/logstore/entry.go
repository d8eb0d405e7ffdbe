package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"
)

// An entry's key is its index. Its value is a format byte, its type, its term, when it was appended (nanoseconds of the
// wall clock, 0 unknown), its checksum, and its data; numbers are big-endian.
const (
	entryFormat = 1
	entryHead   = 1 + 1 + 8 + 8 + sumSize
	sumSize     = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func logKey(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

// sumOf covers what replicas must agree on: index, term, type and data.
func sumOf(log *raft.Log) uint32 {
	var head [17]byte
	binary.BigEndian.PutUint64(head[:], log.Index)
	binary.BigEndian.PutUint64(head[8:], log.Term)
	head[16] = byte(log.Type)
	return crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, log.Data)
}

// mark is an entry's share of its bucket's seal.
func mark(index uint64, sum uint32) uint64 {
	var b [12]byte
	binary.BigEndian.PutUint64(b[:], index)
	binary.BigEndian.PutUint32(b[8:], sum)
	return uint64(crc32.Checksum(b[:], castagnoli))<<32 | uint64(sum)
}

// sealed gives an entry its checksum, which travels with it in Extensions. One that has a checksum already, from its
// leader, must match it.
func sealed(log *raft.Log) error {
	sum := sumOf(log)
	switch {
	case len(log.Extensions) == 0:
		log.Extensions = binary.BigEndian.AppendUint32(nil, sum)
	case len(log.Extensions) != sumSize || binary.BigEndian.Uint32(log.Extensions) != sum:
		return fmt.Errorf("entry %d came with a checksum that it does not match: it was damaged on its way", log.Index)
	}
	return nil
}

func encode(log *raft.Log) []byte {
	out := make([]byte, 0, entryHead+len(log.Data))
	out = append(out, entryFormat, byte(log.Type))
	out = binary.BigEndian.AppendUint64(out, log.Term)
	var appended int64
	if !log.AppendedAt.IsZero() {
		appended = log.AppendedAt.UnixNano()
	}
	out = binary.BigEndian.AppendUint64(out, uint64(appended))
	out = append(out, log.Extensions...)
	return append(out, log.Data...)
}

// checksum returns the stored checksum of an entry.
func checksum(value []byte) (uint32, error) {
	if len(value) < entryHead || value[0] != entryFormat {
		return 0, errors.New("is not in a known format")
	}
	return binary.BigEndian.Uint32(value[entryHead-sumSize:]), nil
}

// decode verifies an entry. Its data is value's own memory.
func decode(index uint64, value []byte, log *raft.Log) error {
	sum, err := checksum(value)
	if err != nil {
		return fmt.Errorf("entry %d %w", index, err)
	}
	*log = raft.Log{
		Index: index, Type: raft.LogType(value[1]), Term: binary.BigEndian.Uint64(value[2:]),
		Extensions: value[entryHead-sumSize : entryHead : entryHead], Data: value[entryHead:],
	}
	if appended := int64(binary.BigEndian.Uint64(value[10:])); appended != 0 {
		log.AppendedAt = time.Unix(0, appended)
	}
	if sumOf(log) != sum {
		return fmt.Errorf("entry %d does not match its checksum", index)
	}
	return nil
}
