package logstore

import (
	"fmt"
	"testing"
)

// One write of entries, its fdatasync included.
func BenchmarkStoreLogs(b *testing.B) {
	for _, c := range [...]struct{ entries, size int }{{1, 400}, {1, 100 << 10}, {4, 20 << 10}} {
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
		})
	}
}
