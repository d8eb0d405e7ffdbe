package clock

import (
	"path/filepath"
	"testing"
	"time"
)

func TestAClockIsWrongByItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	now := time.Unix(1000, 0)
	for _, x := range []struct {
		fault Fault
		want  time.Duration
	}{
		{Fault{}, 0},
		{Fault{Offset: -time.Hour}, -time.Hour},
		{Fault{Rate: 1, Since: now.Add(-time.Minute).UnixNano()}, time.Minute},
		{Fault{Rate: -0.5, Since: now.Add(-time.Minute).UnixNano()}, -30 * time.Second},
	} {
		if x.fault != (Fault{}) {
			if err := Write(path, x.fault); err != nil {
				t.Fatal(err)
			}
		}
		f, err := Read(path)
		if got := f.Wall(now); err != nil || got != now.Add(x.want).UnixNano() {
			t.Errorf("%+v: the clock shows %s, %v; want %s", x.fault, time.Unix(0, got), err, now.Add(x.want))
		}
	}
}
