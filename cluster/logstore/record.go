package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"
)

// A write is the length of its records and those: what is added to the log, or changed of it. It lasts whole or not at
// all.
const writeHead = 4

// Kinds of records.
const (
	recordEntry  = 1 // type, index, term, time of appending (nanoseconds of the wall clock, 0 unknown), checksum, size, data
	recordValue  = 2 // sizes of key and value, key, value: a stable value from now on
	recordExtent = 3 // first and last: the log has these entries from now on, and none when they are 0
	recordNext   = 4 // the segment ends, and the next one is there
)

const (
	entryHead  = 1 + 1 + 8 + 8 + 8 + sumSize + 4
	valueHead  = 1 + 2 + 4
	extentSize = 1 + 8 + 8
)

// sumOf covers what replicas must agree on: index, term, type and data.
func sumOf(log *raft.Log) uint32 {
	sum := ^sumNumber(sumNumber(0, log.Index), log.Term)
	sum = ^(castagnoli[byte(sum)^byte(log.Type)] ^ sum>>8)
	return crc32.Update(sum, castagnoli, log.Data)
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

// entrySize is what an entry takes of a write.
func entrySize(log *raft.Log) int { return entryHead + len(log.Data) }

func putEntry(l *layout, log *raft.Log) {
	head := make([]byte, 0, entryHead)
	head = append(head, recordEntry, byte(log.Type))
	head = binary.BigEndian.AppendUint64(head, log.Index)
	head = binary.BigEndian.AppendUint64(head, log.Term)
	var appended int64
	if !log.AppendedAt.IsZero() {
		appended = log.AppendedAt.UnixNano()
	}
	head = binary.BigEndian.AppendUint64(head, uint64(appended))
	head = append(head, log.Extensions...)
	head = binary.BigEndian.AppendUint32(head, uint32(len(log.Data)))
	l.put(head)
	l.put(log.Data)
}

// decode verifies an entry. Its data is record's own memory.
func decode(index uint64, record []byte, log *raft.Log) error {
	if len(record) < entryHead || record[0] != recordEntry {
		return fmt.Errorf("entry %d is not in a known format", index)
	}
	*log = raft.Log{
		Type: raft.LogType(record[1]), Index: binary.BigEndian.Uint64(record[2:]), Term: binary.BigEndian.Uint64(record[10:]),
		Extensions: record[26 : 26+sumSize : 26+sumSize], Data: record[entryHead:],
	}
	if appended := int64(binary.BigEndian.Uint64(record[18:])); appended != 0 {
		log.AppendedAt = time.Unix(0, appended)
	}
	if log.Index != index || sumOf(log) != binary.BigEndian.Uint32(log.Extensions) {
		return fmt.Errorf("entry %d does not match its checksum", index)
	}
	return nil
}

func appendValue(out []byte, key string, value []byte) []byte {
	out = binary.BigEndian.AppendUint16(append(out, recordValue), uint16(len(key)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(value)))
	return append(append(out, key...), value...)
}

func appendExtent(out []byte, first, last uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(append(out, recordExtent), first), last)
}

var errRecord = errors.New("a record is not in a known format")

// recordSize returns the size of the record that begins here.
func recordSize(b []byte) (int, error) {
	size := 0
	switch b[0] {
	case recordEntry:
		if len(b) >= entryHead {
			size = entryHead + int(binary.BigEndian.Uint32(b[entryHead-4:]))
		}
	case recordValue:
		if len(b) >= valueHead {
			size = valueHead + int(binary.BigEndian.Uint16(b[1:])) + int(binary.BigEndian.Uint32(b[3:]))
		}
	case recordExtent:
		size = extentSize
	case recordNext:
		size = 1
	}
	if size == 0 || size > len(b) {
		return 0, errRecord
	}
	return size, nil
}
