package logstore

import (
	"encoding/binary"
	"hash/crc32"
)

// A segment is a row of blocks, each no larger than what a disk writes whole. A block is its checksum, the number of the
// write that it belongs to, and payload; the checksum covers also which block of which segment it is. So a block that
// was never written (all zeros), one that was, and one that is damaged are three things, and a write that a loss of
// power tore leaves only the first two. Numbers are big-endian.
const (
	blockSize = 512
	blockHead = 8
	blockRoom = blockSize - blockHead
	sumSize   = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type condition int

const (
	blank condition = iota
	whole
	broken
)

// blockSum is the checksum of a block at its place.
func blockSum(segment, number uint32, block []byte) uint32 {
	return crc32.Update(sumNumber(0, uint64(segment)<<32|uint64(number)), castagnoli, block[sumSize:])
}

// sumNumber goes on with a checksum over the eight bytes of a number, as crc32.Update would, for which they would have to
// be on the heap.
func sumNumber(sum uint32, n uint64) uint32 {
	sum = ^sum
	for shift := 56; shift >= 0; shift -= 8 {
		sum = castagnoli[byte(sum)^byte(n>>shift)] ^ sum>>8
	}
	return ^sum
}

// inspect tells a block's condition, and of a whole one to which write it belongs.
func inspect(segment, number uint32, block []byte) (condition, uint32) {
	if binary.BigEndian.Uint32(block) == blockSum(segment, number, block) {
		return whole, binary.BigEndian.Uint32(block[sumSize:])
	}
	for _, b := range block {
		if b != 0 {
			return broken, 0
		}
	}
	return blank, 0
}

// layout puts a stream of bytes into blocks.
type layout struct {
	blocks []byte
	at     int
}

// newLayout has room for a stream, in memory that may be used again.
func newLayout(memory []byte, size int) layout {
	n := blocksFor(size) * blockSize
	if cap(memory) < n {
		memory = make([]byte, n)
	}
	memory = memory[:n]
	clear(memory[max(0, n-blockSize):])
	return layout{blocks: memory}
}

func blocksFor(size int) int { return (size + blockRoom - 1) / blockRoom }

func (l *layout) put(p []byte) {
	for len(p) > 0 {
		if l.at%blockSize == 0 {
			l.at += blockHead
		}
		n := copy(l.blocks[l.at:l.at-l.at%blockSize+blockSize], p)
		l.at, p = l.at+n, p[n:]
	}
}

// seal completes the blocks of a write that begins at a block of a segment.
func (l *layout) seal(segment, first, write uint32) {
	for i := 0; i < len(l.blocks); i += blockSize {
		block := l.blocks[i : i+blockSize]
		binary.BigEndian.PutUint32(block[sumSize:], write)
		binary.BigEndian.PutUint32(block, blockSum(segment, first+uint32(i/blockSize), block))
	}
}

// stream appends to out the part of a stream that lies in blocks, from an offset on.
func stream(out, blocks []byte, from, size int) []byte {
	for size > 0 {
		begin := from / blockRoom * blockSize
		n := min(size, blockRoom-from%blockRoom)
		at := begin + blockHead + from%blockRoom
		out = append(out, blocks[at:at+n]...)
		from, size = from+n, size-n
	}
	return out
}
