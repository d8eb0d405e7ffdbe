package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-dev/lockstep/jepsen/check"
)

func TestThePageShowsEveryFaultAndLeader(t *testing.T) {
	c := &config{Out: t.TempDir()}
	r := newReport(c)
	for n := range 3 {
		r.reigned(span{Name: fmt.Sprintf("node %d leads", n+1), From: time.Duration(n) * time.Second, To: time.Duration(n+1) * time.Second, Observed: true})
	}
	r.ops = []*check.Op{{Return: time.Minute}}
	for i, f := range faults {
		r.injected(f.name, true, time.Duration(i)*time.Second, time.Duration(i+1)*time.Second)
	}
	at := r.timeline()
	if last := at.Rows[len(at.Rows)-1]; len(at.Rows) != len(faults) || last.Y+12 > at.Height {
		t.Errorf("%d rows for %d faults, the last at %d of %d", len(at.Rows), len(faults), last.Y, at.Height)
	}
	if len(at.Leaders) != 3 || at.Rows[0].Y <= at.Leaders[2].Y || len(at.Ticks) != 7 || at.Ticks[6].Time != "1m0s" {
		t.Errorf("leaders %v, the first fault at %d, ticks %v", at.Leaders, at.Rows[0].Y, at.Ticks)
	}
	if err := r.write(c); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(c.Out, "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), ">node 2 leads</text>") {
		t.Error("the page does not show who leads")
	}
	for _, f := range faults {
		if !strings.Contains(string(b), ">"+f.name+"</text>") {
			t.Errorf("the page does not name %s", f.name)
		}
	}
}
