package bench

import (
	"context"
	"slices"
	"time"
)

// Curve is one line of a picture: what was done each second while it was measured, or how long it took by quantile.
type Curve struct {
	Name string
	Run  int // from 1
	// Points have the seconds since the measurement began and what was done in a second, or a quantile from 0 to 1 and
	// milliseconds.
	Points []Point
}

// Point of a Curve.
type Point struct{ X, Y float64 }

// quantiles are where a picture of latencies has its points.
var quantiles = []float64{0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 100}

// spread draws how long something took. What takes no time to speak of, or was not measured, is left out.
func (t *target) spread(name string, times latencies) {
	if times.count() == 0 {
		return
	}
	c := Curve{Name: name, Run: t.run}
	for _, q := range quantiles {
		if q > 50 && q < 100 && float64(times.count())*(100-q) < 99.99 { // too few were measured for one to be beyond
			continue
		}
		c.Points = append(c.Points, Point{q / 100, times.ms(q)})
	}
	t.report.Latencies = append(t.report.Latencies, c)
}

// pace draws what was done in each second from now on, until it is told to stop. It has a goroutine that ends with that.
func (t *target) pace(name string, count func() int64) (stop func()) {
	counting, end := context.WithCancel(context.Background())
	ended := make(chan struct{})
	c := Curve{Name: name, Run: t.run}
	go func() {
		defer close(ended)
		began := time.Now()
		for before, at := count(), began; pause(counting, time.Second) == nil; {
			now, done := time.Now(), count()
			c.Points = append(c.Points, Point{now.Sub(began).Seconds(), float64(done-before) / now.Sub(at).Seconds()})
			before, at = done, now
		}
	}()
	return func() {
		end()
		<-ended
		if len(c.Points) > 0 {
			t.report.Throughput = append(t.report.Throughput, c)
		}
	}
}

// names of curves, each once, in order.
func names(curves []Curve) (out []string) {
	for _, c := range curves {
		if !slices.Contains(out, c.Name) {
			out = append(out, c.Name)
		}
	}
	return out
}
