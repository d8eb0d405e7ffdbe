package graph

import (
	"math/rand"
	"testing"
	"time"
)

func TestDates(t *testing.T) {
	for text, want := range map[string]string{
		"2030-01-31T09:00:00Z": "2030-01-31T09:00:00Z", "2030-01-31t09:00:00z": "2030-01-31T09:00:00Z",
		"2030-01-31T09:00:00.5+05:30": "2030-01-31T03:30:00.5Z", "2030-01-31T00:00:00-23:59": "2030-01-31T23:59:00Z",
		"2030-01-31T09:00:00.1234567891Z": "2030-01-31T09:00:00.123456789Z", "2016-12-31T23:59:60Z": "2017-01-01T00:00:00Z",
		"2024-02-29T00:00:00Z": "2024-02-29T00:00:00Z", "2000-02-29T00:00:00Z": "2000-02-29T00:00:00Z",
		"1678-01-01T00:00:00Z": "1678-01-01T00:00:00Z", "2262-01-01T00:00:00Z": "2262-01-01T00:00:00Z",
		"": "", "2030-01-31": "", "2030-01-31T09:00Z": "", "2030-01-31 09:00:00Z": "", "2030-01-31T09:00:00": "", "2030-1-31T09:00:00Z": "",
		"2030-02-30T09:00:00Z": "", "2023-02-29T00:00:00Z": "", "2100-02-29T00:00:00Z": "", "2030-13-01T00:00:00Z": "", "2030-00-01T00:00:00Z": "",
		"2030-01-00T00:00:00Z": "", "2030-01-31T24:00:00Z": "", "2030-01-31T09:60:00Z": "", "2030-01-31T09:00:61Z": "", "2030-01-31T09:00:00.Z": "",
		"2030-01-31T09:00:00,5Z": "", "2030-01-31T09:00:00+24:00": "", "2030-01-31T09:00:00+0100": "", "2030-01-31T09:00:00Z ": "", "+2030-01-31T09:00:00Z": "",
		"1677-12-31T23:59:59Z": "", "2262-01-01T00:00:01Z": "", "9999-12-31T23:59:59Z": "", "0000-01-01T00:00:00Z": "",
	} {
		got, ok := parseDate(text)
		if ok != (want != "") {
			t.Errorf("%q: %d, %v", text, got, ok)
			continue
		}
		if in := time.Unix(0, got).UTC().Format(time.RFC3339Nano); ok && in != want {
			t.Errorf("%q is %s, want %s", text, in, want)
		}
	}
}

// It reads what package time writes, whatever the date and the offset.
func TestDatesOfPackageTime(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for range 20_000 {
		at := time.Unix(firstSecond+random.Int63n(lastSecond-firstSecond), random.Int63n(1e9))
		text := at.In(time.FixedZone("", (random.Intn(2*24*60-1)-24*60+1)*60)).Format(time.RFC3339Nano)
		if got, ok := parseDate(text); !ok || got != at.UnixNano() {
			t.Fatalf("%s is read as %d, %v; it is %d", text, got, ok, at.UnixNano())
		}
	}
}
