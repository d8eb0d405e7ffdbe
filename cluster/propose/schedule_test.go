package propose

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const aSecond = int64(time.Second)

// each comes at the multiples of so many seconds.
func each(seconds int64) func(int64) (int64, bool) {
	return func(after int64) (int64, bool) { return (after/aSecond/seconds + 1) * seconds * aSecond, true }
}

// said are commands, shortened: which schedule, behind which time, which time, and how many are left out.
func said(s *Schedules, date int64) string {
	var out []string
	for _, c := range s.Due(date * aSecond) {
		f := c.GetFireSchedule()
		out = append(out, fmt.Sprintf("%s %d>%d-%d", f.Schedule, f.After/aSecond, f.At/aSecond, f.Missed))
	}
	return strings.Join(out, " ")
}

func TestTimesThatHaveCome(t *testing.T) {
	t.Parallel()
	s := &Schedules{}
	a := Plan{Schedule: "a", Position: 1, After: 100 * aSecond, CatchUp: 30 * aSecond, Next: each(10)}
	b := Plan{Schedule: "b", Position: 2, After: 100 * aSecond, CatchUp: 30 * aSecond, Next: func(int64) (int64, bool) { return 0, false }}
	s.Know([]Plan{a, b})
	for _, c := range []struct {
		date int64
		want string
	}{
		{100, ""},
		{109, ""},
		{110, "a 100>110-0"},
		{125, "a 100>110-0 a 110>120-0"},
		{140, "a 100>110-0 a 110>120-0 a 120>130-0 a 130>140-0"}, // 110 is as old as it may be
		{141, "a 100>110-0 a 110>120-0 a 120>130-0 a 130>140-0"},
		{200, "a 100>160-5 a 160>170-0 a 170>180-0 a 180>190-0 a 190>200-0"},
	} {
		if got := said(s, c.date); got != c.want {
			t.Errorf("at %d: %q, want %q", c.date, got, c.want)
		}
	}
	if wait := s.Wait(107*aSecond, time.Minute); wait != 3*time.Second {
		t.Errorf("at 107 it waits %s", wait)
	}
	if wait := s.Wait(107*aSecond, time.Second); wait != time.Second {
		t.Errorf("at 107 it waits %s of a second", wait)
	}
	a.After = 130 * aSecond
	s.Know([]Plan{a})
	if got := said(s, 141); got != "a 130>140-0" {
		t.Errorf("behind 130: %q", got)
	}
	a.Position = 7 // another of that name
	s.Know([]Plan{a})
	if c := s.Due(141 * aSecond); len(c) != 1 || c[0].GetFireSchedule().Position != 7 {
		t.Errorf("of another: %v", c)
	}
	s.Know(nil)
	if got := said(s, 1000); got != "" || s.Wait(0, time.Hour) != time.Hour {
		t.Errorf("without a schedule: %q", got)
	}
}

// A look is bounded, whatever was missed, and loses nothing: the next goes on behind it.
func TestALookIsBounded(t *testing.T) {
	t.Parallel()
	s := &Schedules{}
	p := Plan{Schedule: "a", CatchUp: 1000 * aSecond, Next: each(1)}
	total, looks := int64(0), 0
	for p.After < 50_000*aSecond {
		s.Know([]Plan{p})
		due := s.Due(50_000 * aSecond)
		if len(due) == 0 || len(due) > firingsALook {
			t.Fatalf("%d at once behind %d", len(due), p.After/aSecond)
		}
		for _, c := range due {
			f := c.GetFireSchedule()
			if f.After != p.After {
				t.Fatalf("%v comes behind %d", f, p.After)
			}
			total, p.After = total+1+int64(f.Missed), f.At
		}
		looks++
	}
	if total != 50_000 || looks > 5+4 {
		t.Errorf("%d times in %d looks", total, looks)
	}
}

// The date is the leader's own, or that of the log if it is ahead, or what has passed since the log told it.
func TestTheDate(t *testing.T) {
	t.Parallel()
	s := &Schedules{}
	for n, c := range []struct {
		now              time.Duration
		own, state, want int64
	}{
		{1, 0, 0, 0},
		{2, 500, 0, 500},
		{3, 500, 400, 500},
		{4, 300, 400, 400},
		{10, 0, 400, 407},
		{11, 0, 600, 600},
		{15, 0, 600, 604},
	} {
		if got := s.Date(c.now, c.own, c.state); got != c.want {
			t.Errorf("%d: it is %d, want %d", n, got, c.want)
		}
	}
}
