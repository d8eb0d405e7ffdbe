package check

import (
	"strings"
	"testing"
	"time"
)

var testPlans = map[string]Plan{
	"beat-skip":    {Every: time.Second, Overlap: "SKIP", CatchUp: 10 * time.Second},
	"beat-queue":   {Every: 2 * time.Second, Overlap: "QUEUE", Limit: 1, CatchUp: 10 * time.Second},
	"beat-replace": {Every: time.Second, Overlap: "CANCEL_PREVIOUS", CatchUp: 10 * time.Second},
	"beat-allow":   {Every: time.Second, Overlap: "ALLOW", CatchUp: 10 * time.Second},
}

// beats writes a feed of one schedule. Times are in seconds; wall is that of what follows.
type beats struct {
	name   string
	wall   float64
	events []Event
}

func seconds(at float64) int64 { return int64(at * float64(time.Second)) }

func beatsOf(policy string) *beats {
	b := &beats{name: "beat-" + policy + "-0", wall: 100.5}
	return b.add(Event{Type: "schedule.created", Name: b.name, Code: testPlans["beat-"+policy].Overlap})
}

func (b *beats) add(e Event) *beats {
	e.Wall, e.Position = seconds(b.wall), int64(len(b.events))+1
	b.events = append(b.events, e)
	return b
}

func (b *beats) at(wall float64) *beats { b.wall = wall; return b }

func (b *beats) id(due float64) string {
	return b.name + "@" + time.Unix(0, seconds(due)).UTC().Format(time.RFC3339)
}

func (b *beats) fires(due float64) *beats {
	b.add(Event{Type: "instance.started", Instance: b.id(due)})
	return b.add(Event{Type: "schedule.fired", Name: b.name, Instance: b.id(due), Due: seconds(due)})
}

func (b *beats) has(kind string, due float64, code string) *beats {
	return b.add(Event{Type: "schedule." + kind, Name: b.name, Due: seconds(due), Code: code})
}

func (b *beats) misses(due float64, count int64) *beats {
	return b.add(Event{Type: "schedule.missed", Name: b.name, Due: seconds(due), Count: count})
}

func (b *beats) changes(kind string, late bool) *beats {
	return b.add(Event{Type: "schedule." + kind, Name: b.name, Late: late})
}

func (b *beats) ends(due float64, kind string) *beats {
	return b.add(Event{Type: "instance." + kind, Instance: b.id(due)})
}

func TestSchedulesAsTheyAreToBe(t *testing.T) {
	for name, b := range map[string]*beats{
		"one after the other": beatsOf("skip").at(101).fires(101).ends(101, "completed").at(102.1).fires(102).ends(102, "failed"),
		"skipped":             beatsOf("skip").at(101).fires(101).at(102).has("skipped", 102, "OVERLAP").ends(101, "completed").at(103).fires(103),
		"queued":              beatsOf("queue").at(102).fires(102).at(104).has("queued", 104, "").at(106).has("skipped", 106, "QUEUE_FULL").ends(102, "completed").fires(104),
		"replaced": beatsOf("replace").at(101).fires(101).at(102).has("queued", 102, "").at(103).has("skipped", 102, "REPLACED").has("queued", 103, "").
			ends(101, "cancelled").fires(103),
		"replaced while paused": beatsOf("replace").at(101).fires(101).at(102).has("queued", 102, "").changes("paused", false).ends(101, "cancelled").
			has("skipped", 102, "REPLACED").has("queued", 50, "").changes("resumed", false).fires(50),
		"side by side":         beatsOf("allow").at(101).fires(101).at(102).fires(102),
		"behind an outage":     beatsOf("allow").at(113.5).misses(103, 3).fires(104).fires(105).changes("deleted", false),
		"a pause":              beatsOf("allow").at(101).fires(101).changes("paused", false).at(109.5).changes("resumed", false).at(110).fires(110),
		"a pause, caught up":   beatsOf("allow").at(101).fires(101).changes("paused", false).at(103.5).changes("resumed", true).fires(102).fires(103),
		"by hand":              beatsOf("skip").at(101).fires(50).has("skipped", 101, "OVERLAP"),
		"by hand, of its own":  beatsOf("allow").at(101).fires(101).fires(102).at(102).has("skipped", 102, "INSTANCE_EXISTS").at(103).fires(103),
		"by hand while paused": beatsOf("skip").changes("paused", false).fires(50),
		"by hand, and waits":   beatsOf("queue").at(102).fires(102).has("queued", 50, "").at(104).has("skipped", 104, "QUEUE_FULL").ends(102, "completed").fires(50),
		"made again":           beatsOf("skip").at(101).fires(101).changes("deleted", false).at(101.5).add(Event{Type: "schedule.created", Name: "beat-skip-0", Code: "SKIP"}).at(102).fires(102),
		"paused at the end":    beatsOf("allow").at(101).fires(101).changes("paused", false).at(150).add(Event{Type: "session.opened"}),
	} {
		if facts := b.judged(); len(facts) > 0 {
			t.Errorf("%s: %v", name, facts)
		}
	}
}

// judged checks the feed, where somebody asked for 50 and 102 by hand.
func (b *beats) judged() []Fact {
	var ops []*Op
	for _, at := range []float64{50, 102} {
		ops = append(ops, &Op{Kind: "trigger", Schedule: b.name, At: seconds(at)})
	}
	return Schedules(ops, b.events, testPlans)
}

func TestSchedulesAsTheyMustNotBe(t *testing.T) {
	fired := func(policy string) *beats {
		first := 100 + testPlans["beat-"+policy].Every.Seconds()
		return beatsOf(policy).at(104).fires(first)
	}
	for name, x := range map[string]struct {
		b    *beats
		want string
	}{
		"fired twice":                {fired("allow").fires(101), "is decided again"},
		"decided twice":              {fired("allow").has("skipped", 101, "INSTANCE_EXISTS"), "is decided again"},
		"left out":                   {fired("allow").fires(103), "comes when 1970-01-01T00:01:42Z does"},
		"before it has come":         {beatsOf("allow").at(100.9).fires(101), "has not come"},
		"none of its own":            {fired("allow").at(103).fires(102.5), "comes when"},
		"while it is paused":         {fired("allow").changes("paused", false).has("fired", 103, ""), "comes when"},
		"its next while paused":      {beatsOf("allow").changes("paused", false).at(101).fires(101), "while it is paused"},
		"side by side":               {beatsOf("skip").at(101).fires(101).at(102).fires(102), "had to be skipped OVERLAP"},
		"skipped for nothing":        {beatsOf("skip").at(101).has("skipped", 101, "OVERLAP"), "had to be fired"},
		"the queue is longer":        {fired("queue").has("queued", 104, "").at(106).has("queued", 106, ""), "had to be skipped QUEUE_FULL"},
		"it does not wait":           {fired("queue").has("queued", 104, "").fires(104), `while "beat-queue-0@1970-01-01T00:01:42Z" runs`},
		"starts behind a pause":      {fired("queue").has("queued", 104, "").changes("paused", false).ends(102, "completed").fires(104), "paused: true"},
		"waits for nothing":          {fired("queue").has("queued", 104, "").ends(102, "completed"), "wait for nothing"},
		"replaces nothing":           {fired("queue").has("queued", 104, "").has("skipped", 104, "REPLACED"), "it replaces nothing"},
		"is not replaced":            {beatsOf("replace").at(101).fires(101).at(102).has("queued", 102, "").ends(101, "completed").fires(102), "whose place another time takes"},
		"too old":                    {beatsOf("allow").at(111.5).fires(101), "may be caught up with for 10s"},
		"missed too early":           {beatsOf("allow").at(110).misses(103, 3), "may be caught up with for 10s"},
		"more than the count says":   {beatsOf("allow").at(120).misses(104, 3), "comes when"},
		"nothing is said":            {fired("allow").at(109).add(Event{Type: "session.opened"}), "nothing is said of 1970-01-01T00:01:42Z"},
		"nothing is started":         {beatsOf("allow").at(101).has("fired", 101, ""), "what was started is"},
		"started by nobody":          {fired("allow").add(Event{Type: "instance.started", Instance: "beat-allow-0@x"}), "no schedule says so"},
		"another overlap":            {beatsOf("skip").changes("deleted", false).add(Event{Type: "schedule.created", Name: "beat-skip-0", Code: "ALLOW"}), "is made with overlap ALLOW"},
		"of one that is not there":   {beatsOf("skip").changes("deleted", false).at(101).fires(101), "which is there: false"},
		"made twice":                 {beatsOf("skip").add(Event{Type: "schedule.created", Name: "beat-skip-0", Code: "SKIP"}), "which is there: true"},
		"a failure that has no name": {beatsOf("allow").at(101).has("failed", 101, "X"), "had to be fired"},
	} {
		got := ""
		for _, f := range x.b.judged() {
			got += f.What + "; "
		}
		if !strings.Contains(got, x.want) {
			t.Errorf("%s: found %q; want %q", name, got, x.want)
		}
	}
}
