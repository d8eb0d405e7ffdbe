package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// reported makes a directory in which seeds are run already.
func reported(t *testing.T, seeds int) *config {
	t.Helper()
	c := &config{Out: t.TempDir(), Time: time.Minute, Seed: 7, Hours: (float64(seeds) - 0.5) / 60, Lanes: 1}
	c.Built.Code = "code"
	for n := range seeds {
		one := *c
		one.Out = filepath.Join(c.Out, fmt.Sprintf("code-%d-nodes-1-minutes-seed-%d", 3+2*(n%2), 7+n))
		release, err := own(one.Out) // makes it
		if err != nil {
			t.Fatal(err)
		}
		release()
		r := newReport(&one)
		r.Minutes, r.Ops, r.Verdict = 1, 10, pass
		if n == 2 || n == 1 {
			r.Verdict = failed
		}
		if err := r.write(&one); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestLanesTakeEachSeedOnce(t *testing.T) {
	for _, lanes := range []int{1, 2, 5} {
		c := reported(t, 9)
		c.Lanes = lanes
		total, err := runs(c)
		if err != nil {
			t.Fatal(err)
		}
		if total.Runs != 9 || total.Ops != 90 {
			t.Errorf("%d lanes made %d runs of %d operations, want 9 of 90", lanes, total.Runs, total.Ops)
		}
		if want := []string{"scripts/chaos --nodes 3 --minutes 1 --seed 9", "scripts/chaos --nodes 5 --minutes 1 --seed 8"}; fmt.Sprint(total.Failed) != fmt.Sprint(want) {
			t.Errorf("%q failed, want %q", total.Failed, want)
		}
	}
}

func TestASeriesHasItsDirectoryToItself(t *testing.T) {
	c := reported(t, 1)
	release, err := own(c.Out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := runs(c); err == nil || !strings.Contains(err.Error(), "another series") {
		t.Errorf("a second series in a directory: %v", err)
	}
	release()
	if _, err := runs(c); err != nil {
		t.Error(err)
	}
}

func TestASeriesThatIsStoppedTakesNoMoreSeeds(t *testing.T) {
	s := &seeds{config: &config{Hours: 1}, total: &sum{}}
	first, why := s.next(), errors.New("why")
	s.stop(why)
	s.stop(errors.New("what came of it"))
	if second := s.next(); first == nil || second != nil || s.err != why {
		t.Errorf("took %v, then %v, because of %v", first, second, s.err)
	}
}

func TestLinesOfRunsDoNotMix(t *testing.T) {
	var out bytes.Buffer
	var mu sync.Mutex
	to := write(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return out.Write(p)
	})
	var runs sync.WaitGroup
	for _, head := range []string{"a: ", "b: "} {
		runs.Go(func() {
			l := &lines{to: to, head: head}
			for range 50 {
				for _, part := range []string{"on", "e\ntw", "o", "\n"} {
					if _, err := l.Write([]byte(part)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	runs.Wait()
	count := map[string]int{}
	for line := range strings.Lines(out.String()) {
		count[line]++
	}
	for _, line := range []string{"a: one\n", "a: two\n", "b: one\n", "b: two\n"} {
		if count[line] != 50 || len(count) != 4 {
			t.Fatalf("lines %v, want 50 of each", count)
		}
	}
}

type write func([]byte) (int, error)

func (w write) Write(p []byte) (int, error) { return w(p) }
