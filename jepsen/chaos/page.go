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
	Rows   []row
	Bars   []bar // operations answered, in slices of the run
	Height int   // of all rows
}

type row struct {
	Name  string
	Y     int
	Spans []place
}

type place struct {
	X, W     int
	Observed bool
}

type bar struct{ X, H, Bad int }

func (r *report) timeline() timeline {
	out := timeline{report: r}
	var end time.Duration
	for _, op := range r.ops {
		end = max(end, op.Return)
	}
	end = max(end, time.Second)
	at := func(t time.Duration) int { return int(1000 * t / end) }
	spans := slices.SortedFunc(slices.Values(r.spans), func(a, b span) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.From, b.From)) })
	for _, s := range spans {
		if len(out.Rows) == 0 || out.Rows[len(out.Rows)-1].Name != s.Name {
			out.Rows = append(out.Rows, row{Name: s.Name, Y: 130 + 16*len(out.Rows)})
		}
		last := &out.Rows[len(out.Rows)-1]
		last.Spans = append(last.Spans, place{at(s.From), max(2, at(s.To)-at(s.From)), s.Observed})
	}
	out.Height = 130 + 16*len(out.Rows)
	const slices = 250
	var good, bad [slices + 1]int
	most := 1
	for _, op := range r.ops {
		i := int(slices * op.Return / end)
		if op.Outcome == check.Unknown {
			bad[i]++
		} else {
			good[i]++
		}
		most = max(most, good[i]+bad[i])
	}
	for i := range good {
		out.Bars = append(out.Bars, bar{i * 1000 / slices, 100 * good[i] / most, 100 * bad[i] / most})
	}
	return out
}
