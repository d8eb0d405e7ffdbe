package logstore

import (
	"fmt"
	"testing"

	"github.com/hashicorp/raft"
)

// One write of entries, its fdatasync included: an idle cluster's, a loaded leader's of 128 completions, and what a
// follower is sent at once. Of the disk's bytes each write is padded to blocks, which are summed.
func BenchmarkStoreLogs(b *testing.B) {
	for _, c := range [...]struct{ entries, size int }{{1, 400}, {1, 48 << 10}, {1, 100 << 10}, {4, 20 << 10}} {
		b.Run(fmt.Sprintf("%d of %d bytes", c.entries, c.size), func(b *testing.B) {
			s, err := Open(Config{Path: at(b)})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			logs := entries(1, uint64(c.entries), 1, c.size)
			b.SetBytes(int64(c.entries * c.size))
			b.ReportAllocs()
			for n := uint64(1); b.Loop(); n++ {
				for _, log := range logs {
					log.Index, log.Extensions = n, nil
					n++
				}
				n--
				if err := s.StoreLogs(logs); err != nil {
					b.Fatal(err)
				}
				if n%1024 == 0 {
					if err := s.DeleteRange(1, n-64); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(blocksFor(writeHead+c.entries*(entryHead+c.size))*blockSize), "blocks-B/op")
		})
	}
}

// filled is a log of entries of 4 KiB, 16 MiB in all, and its directory.
func filled(b *testing.B) (*Store, string, uint64) {
	const count = 4096
	path := at(b)
	s, err := Open(Config{Path: path})
	if err != nil {
		b.Fatal(err)
	}
	for from := uint64(1); from <= count; from += 256 {
		if err := s.StoreLogs(entries(from, from+255, 1, 4<<10)); err != nil {
			b.Fatal(err)
		}
	}
	return s, path, count
}

// A follower that is behind is sent entries that are read again.
func BenchmarkGetLog(b *testing.B) {
	s, _, count := filled(b)
	defer s.Close()
	b.SetBytes(4 << 10)
	b.ReportAllocs()
	for n := uint64(0); b.Loop(); n += 97 {
		log := &raft.Log{}
		if err := s.GetLog(1+n%count, log); err != nil {
			b.Fatal(err)
		}
	}
}

// A node that starts reads its whole log.
func BenchmarkOpen(b *testing.B) {
	s, path, count := filled(b)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(count) * 4 << 10)
	b.ReportAllocs()
	for b.Loop() {
		s, err := Open(Config{Path: path})
		if err != nil {
			b.Fatal(err)
		}
		if last, err := s.LastIndex(); err != nil || last != count {
			b.Fatalf("the log ends at %d, %v", last, err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
