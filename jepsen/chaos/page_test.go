package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestThePageShowsEveryFault(t *testing.T) {
	c := &config{Out: t.TempDir()}
	r := newReport(c)
	for i, f := range faults {
		r.injected(f.name, true, time.Duration(i)*time.Second, time.Duration(i+1)*time.Second)
	}
	at := r.timeline()
	if last := at.Rows[len(at.Rows)-1]; len(at.Rows) != len(faults) || last.Y+12 > at.Height {
		t.Errorf("%d rows for %d faults, the last at %d of %d", len(at.Rows), len(faults), last.Y, at.Height)
	}
	if err := r.write(c); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(c.Out, "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		if !strings.Contains(string(b), ">"+f.name+"</text>") {
			t.Errorf("the page does not name %s", f.name)
		}
	}
}
