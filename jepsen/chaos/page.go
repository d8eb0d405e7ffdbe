package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"html/template"
	"os"
	"path/filepath"
	"slices"
	"time"

	_ "embed"

	"github.com/lockstep-dev/lockstep/jepsen/check"
)

//go:embed report.html
var page string

// write leaves the report as JSON and as a page to look at.
func (r *report) write(c *config) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.Out, "report.json"), b, 0o644); err != nil {
		return err
	}
	t, err := template.New("report").Parse(page)
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(c.Out, "report.html"))
	if err != nil {
		return err
	}
	return errors.Join(t.Execute(f, r.timeline()), f.Close())
}

// timeline is the page's data: places are in thousandths of the run.
type timeline struct {
	*report
	Leaders, Rows []row
	Bars          []bar  // operations answered, in slices of the run
	Ticks         []tick // of the time
	Height        int    // of all rows
}

type row struct {
	Name  string
	Y     int
	Spans []place
}

type place struct {
	X, W     int
	Observed bool
	From, To string // for who points at it
}

type bar struct{ X, H, Bad int }

type tick struct {
	X    int
	Time string
}

const (
	firstRow = 150 // below the answers
	rowEvery = 16
)

func (r *report) timeline() timeline {
	out := timeline{report: r}
	var end time.Duration
	for _, op := range r.ops {
		end = max(end, op.Return)
	}
	end = max(end, time.Second)
	at := func(t time.Duration) int { return int(1000 * min(t, end) / end) }
	out.Leaders = rows(r.leads, firstRow, at)
	out.Rows = rows(r.spans, firstRow+rowEvery*len(out.Leaders), at)
	out.Height = firstRow + rowEvery*(len(out.Leaders)+len(out.Rows))
	out.Bars = bars(r.ops, end)
	every := 10 * time.Second
	for end/every > 12 {
		every *= 2
	}
	for t := time.Duration(0); t <= end; t += every {
		out.Ticks = append(out.Ticks, tick{at(t), t.String()})
	}
	return out
}

// rows are spans by name, one below the other.
func rows(list []span, y int, at func(time.Duration) int) (out []row) {
	list = slices.SortedFunc(slices.Values(list), func(a, b span) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.From, b.From)) })
	for _, s := range list {
		if len(out) == 0 || out[len(out)-1].Name != s.Name {
			out = append(out, row{Name: s.Name, Y: y + rowEvery*len(out)})
		}
		last := &out[len(out)-1]
		last.Spans = append(last.Spans, place{at(s.From), max(2, at(s.To)-at(s.From)), s.Observed, short(s.From), short(s.To)})
	}
	return out
}

func short(t time.Duration) string { return t.Round(10 * time.Millisecond).String() }

func bars(ops []*check.Op, end time.Duration) (out []bar) {
	const slices = 250
	var good, bad [slices + 1]int
	most := 1
	for _, op := range ops {
		i := int(slices * op.Return / end)
		if op.Outcome == check.Unknown {
			bad[i]++
		} else {
			good[i]++
		}
		most = max(most, good[i]+bad[i])
	}
	for i := range good {
		out = append(out, bar{i * 1000 / slices, 100 * good[i] / most, (24*bad[i] + most - 1) / most})
	}
	return out
}
