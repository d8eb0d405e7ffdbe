package bench

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// latencies are times from 1 us to 10 minutes, to three digits. They are used from one goroutine.
type latencies struct{ h *hdrhistogram.Histogram }

const longest = 10 * time.Minute

func newLatencies() latencies {
	return latencies{hdrhistogram.New(1, longest.Microseconds(), 3)}
}

func (l latencies) add(d time.Duration) {
	_ = l.h.RecordValue(min(max(d, time.Microsecond), longest).Microseconds()) // it is in range
}

func (l latencies) merge(other latencies) { l.h.Merge(other.h) }

func (l latencies) count() int64 { return l.h.TotalCount() }

// ms is a quantile in milliseconds; zero when nothing was measured.
func (l latencies) ms(quantile float64) float64 {
	if l.count() == 0 {
		return 0
	}
	return math.Round(float64(l.h.ValueAtQuantile(quantile))) / 1000
}
