package cron

import (
	"strings"
	"testing"
	"time"
)

// times are the next so many times behind one, as a clock on the wall of the zone shows them.
func times(t *testing.T, expression, zone, after string, n int) string {
	t.Helper()
	c, err := Parse(expression, zone)
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.ParseInLocation("2006-01-02 15:04:05", after, c.zone)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for now := at.UnixNano(); n > 0; n-- {
		next, ok := c.Next(now)
		if !ok {
			t.Fatalf("%s in %s does not come behind %s", expression, zone, time.Unix(0, now))
		}
		now = next
		out = append(out, time.Unix(0, next).In(c.zone).Format("01-02 15:04:05 -0700"))
	}
	return strings.Join(out, ", ")
}

func TestTimes(t *testing.T) {
	for _, c := range []struct {
		expression, zone, after string
		n                       int
		want                    string
	}{
		{"30 2 * * *", "UTC", "2026-03-28 00:00:00", 2, "03-28 02:30:00 +0000, 03-29 02:30:00 +0000"},
		{"*/20 9-10 * * mon-fri", "", "2026-03-27 10:20:00", 2, "03-27 10:40:00 +0000, 03-30 09:00:00 +0000"},
		{"0 0 13 * fri", "UTC", "2026-03-01 00:00:00", 3, "03-06 00:00:00 +0000, 03-13 00:00:00 +0000, 03-20 00:00:00 +0000"}, // either day counts
		{"@daily", "Europe/Berlin", "2026-06-01 12:00:00", 1, "06-02 00:00:00 +0200"},
		{"@hourly", "Asia/Kolkata", "2026-06-01 12:10:00", 1, "06-01 13:00:00 +0530"},
		{"@every 90s", "", "2026-06-01 12:00:00", 2, "06-01 12:01:30 +0000, 06-01 12:03:00 +0000"},
		// Clocks go ahead from 2 to 3: half past two does not come on that day, and what comes each hour goes on.
		{"30 2 * * *", "Europe/Berlin", "2026-03-28 00:00:00", 3, "03-28 02:30:00 +0100, 03-30 02:30:00 +0200, 03-31 02:30:00 +0200"},
		{"30 * * * *", "Europe/Berlin", "2026-03-29 00:45:00", 2, "03-29 01:30:00 +0100, 03-29 03:30:00 +0200"},
		// Clocks go back from 3 to 2: half past two comes twice.
		{"30 2 * * *", "Europe/Berlin", "2026-10-25 00:00:00", 3, "10-25 02:30:00 +0200, 10-25 02:30:00 +0100, 10-26 02:30:00 +0100"},
		{"0 3 * * *", "Europe/Berlin", "2026-10-25 00:00:00", 2, "10-25 03:00:00 +0100, 10-26 03:00:00 +0100"},
		{"@every 1h", "Europe/Berlin", "2026-03-29 01:00:00", 2, "03-29 03:00:00 +0200, 03-29 04:00:00 +0200"}, // it knows no clock
		{"0 0 29 2 *", "UTC", "2026-01-01 00:00:00", 1, "02-29 00:00:00 +0000"},
	} {
		if got := times(t, c.expression, c.zone, c.after, c.n); got != c.want {
			t.Errorf("%s in %s: %s, want %s", c.expression, c.zone, got, c.want)
		}
	}
}

var atLimit = strings.Repeat("0,", 123) + "0 * * * * "

func TestWhatIsNoneIsRefusedWithItsPlace(t *testing.T) {
	if _, err := Parse(atLimit, ""); err != nil || len(atLimit) != MaxLength {
		t.Errorf("an expression of %d bytes: %v", len(atLimit), err)
	}
	for _, c := range []struct{ expression, zone, want string }{
		{"", "", "cron is missing"},
		{"* * * *", "", "has 4 fields, and not 5"},
		{"* * * * * *", "", "has 6 fields, and not 5"},
		{"61 * * * *", "", "field 1 (minute)"},
		{"0 24 * * *", "", "field 2 (hour)"},
		{"0 0 0 * *", "", "field 3 (day of month)"},
		{"0 0 1 foo *", "", "field 4 (month)"},
		{"0 0 1 1 8", "", "field 5 (day of week)"},
		{"0,, 0 1 1 *", "", "field 1 (minute)"},
		{", 0 1 1 *", "", "field 1 (minute)"},
		{"*/0 * * * *", "", "field 1 (minute)"},
		{"0 0 30 2 *", "", "never comes"},
		{"TZ=UTC", "", "give that as zone"},
		{"CRON_TZ=Europe/Berlin 0 0 * * *", "", "give that as zone"},
		{"@never", "", "is none of @hourly"},
		{"@every", "", "is none of @hourly"},
		{"@every 500ms", "", "whole seconds"},
		{"@every 1.5s", "", "whole seconds"},
		{"@every -1m", "", "whole seconds"},
		{"@every soon", "", "whole seconds"},
		{"@daily", "Europe/Atlantis", `zone "Europe/Atlantis" is unknown`},
		{"@daily", "Local", "another on each machine"},
		{"@daily", "../etc/passwd", "is unknown"},
		{atLimit + " ", "", "the limit is 256"},
		{"@daily", strings.Repeat("z", 257), "the limit is 256"},
	} {
		if _, err := Parse(c.expression, c.zone); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q in %q: %v, want %q", c.expression, c.zone, err, c.want)
		}
	}
}

// Whatever is taken comes again and again, later each time; nothing that is given brings the parser down.
func FuzzTimesGoOn(f *testing.F) {
	f.Add("30 2 * * *", "Europe/Berlin", int64(1774742400))
	f.Add("*/7 0-3 29,30 */5 sun", "America/Sao_Paulo", int64(1541300000))
	f.Add("0 1 * * *", "Australia/Lord_Howe", int64(1775320000))
	f.Add("TZ=0", "", int64(0))
	f.Add("@every 61s", "Asia/Kathmandu", int64(-1))
	f.Add("15 0 * * *", "Africa/Cairo", int64(1398988800))
	f.Fuzz(func(t *testing.T, expression, zone string, seconds int64) {
		c, err := Parse(expression, zone)
		if err != nil {
			return
		}
		now := seconds % (1 << 32) * 1e9
		for range 50 {
			next, ok := c.Next(now)
			if !ok {
				return
			}
			if next <= now || next%1e9 != 0 {
				t.Fatalf("%q in %q: %d comes behind %d", expression, zone, next, now)
			}
			now = next
		}
	})
}
