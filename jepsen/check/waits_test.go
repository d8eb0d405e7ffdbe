package check

import (
	"testing"
	"time"
)

var testOffers = map[string]Waiting{"offer": {
	After: map[string]time.Duration{"cool": ms(100)}, Until: []string{"opens"}, Approvals: []string{"agreed", "signed"},
	Races: map[string][]string{"close": {"agreed", "bought", "opens"}}, Total: ms(500),
}}

// offered is a feed in which a timer fires, a signal wins a race, and a step is approved; and an instance is rejected, and one has no time left.
func offered() []Event {
	return numbered([]Event{
		{Type: "instance.started", Instance: "offer-1"},
		{Type: "step.waiting", Instance: "offer-1", Step: "cool", Code: "TIMER"},
		{Type: "timer.fired", Instance: "offer-1", Step: "cool"},
		{Type: "step.completed", Instance: "offer-1", Step: "cool"},
		{Type: "step.waiting", Instance: "offer-1", Step: "agreed", Code: "APPROVAL"},
		{Type: "step.waiting", Instance: "offer-1", Step: "bought"},
		{Type: "step.completed", Instance: "offer-1", Step: "bought"},
		{Type: "step.skipped", Instance: "offer-1", Step: "agreed", Code: "RACE_LOST"},
		{Type: "step.skipped", Instance: "offer-1", Step: "opens", Code: "RACE_LOST"},
		{Type: "step.leased", Instance: "offer-1", Step: "close", Token: 1},
		{Type: "step.completed", Instance: "offer-1", Step: "close", Token: 1},
		{Type: "step.waiting", Instance: "offer-1", Step: "signed", Code: "APPROVAL"},
		{Type: "step.approved", Instance: "offer-1", Step: "signed"},
		{Type: "step.completed", Instance: "offer-1", Step: "signed"},
		{Type: "instance.completed", Instance: "offer-1"},

		{Type: "instance.started", Instance: "offer-2"},
		{Type: "step.waiting", Instance: "offer-2", Step: "agreed", Code: "APPROVAL"},
		{Type: "step.waiting", Instance: "offer-2", Step: "opens", Code: "TIMER", Due: 70},
		{Type: "timer.fired", Instance: "offer-2", Step: "opens", Due: 70, Wall: 70},
		{Type: "step.completed", Instance: "offer-2", Step: "opens"},
		{Type: "step.skipped", Instance: "offer-2", Step: "agreed", Code: "RACE_LOST"},
		{Type: "step.skipped", Instance: "offer-2", Step: "bought", Code: "RACE_LOST"},
		{Type: "step.waiting", Instance: "offer-2", Step: "signed", Code: "APPROVAL"},
		{Type: "step.rejected", Instance: "offer-2", Step: "signed"},
		{Type: "step.failed", Instance: "offer-2", Step: "signed", Code: "REJECTED"},
		{Type: "instance.failing", Instance: "offer-2", Code: "REJECTED"},
		{Type: "instance.failed", Instance: "offer-2"},

		{Type: "instance.started", Instance: "offer-3"},
		{Type: "step.waiting", Instance: "offer-3", Step: "cool", Code: "TIMER"},
		{Type: "instance.failing", Instance: "offer-3", Code: "TIMEOUT"},
		{Type: "step.cancelled", Instance: "offer-3", Step: "cool"},
		{Type: "instance.failed", Instance: "offer-3"},
	})
}

func numbered(events []Event) []Event {
	for at := range events {
		events[at].Position = int64(at) + 1
	}
	return events
}

// around has others get a lock just before a wait and just behind its end, and says how many milliseconds lie between: for a timer, and for an instance.
func around(events []Event, timer, total int) (all []Event, ops []*Op) {
	clock, token := 0, int64(100)
	lock := func() {
		token++
		all = append(all, Event{Type: "lock.granted", Token: token, Lock: "l"})
		ops = append(ops, &Op{Kind: "acquire", Lock: "l", Token: token, Outcome: OK, Invoke: ms(clock), Return: ms(clock + 1)})
	}
	for _, e := range events {
		if e.Type == "instance.started" || e.Type == "step.waiting" {
			lock()
		}
		all = append(all, e)
		switch {
		case e.Type == "timer.fired" && e.Due == 0:
			clock += timer
			lock()
		case e.Code == "TIMEOUT":
			clock += total
			lock()
		}
	}
	return numbered(all), ops
}

func TestWaitsAsTheyShouldBe(t *testing.T) {
	events, ops := around(offered(), 100, 500)
	if facts := Waits(ops, events, testOffers); len(facts) > 0 {
		t.Errorf("sound waits are refused: %v", facts)
	}
	if facts := Waits(nil, offered(), testOffers); len(facts) > 0 {
		t.Errorf("waits that nobody timed are refused: %v", facts)
	}
	if facts := Waits(nil, offered(), nil); len(facts) > 0 {
		t.Errorf("what is none of it is refused: %v", facts)
	}
	needs := map[string][]string{"offer/cool": nil, "offer/agreed": {"cool"}, "offer/bought": {"cool"}, "offer/opens": nil, "offer/close": nil, "offer/signed": {"close"}}
	if facts := Feed(offered()[:15], needs, nil); len(facts) > 0 {
		t.Errorf("an instance whose steps have lost a race is refused: %v", facts)
	}
	skipped := offered()[:15]
	skipped[8].Code = ""
	wants(t, Feed(skipped, needs, nil), "S1: position 15: offer-1 is completed, and its step opens is not")
}

func TestABrokenWaitIsFound(t *testing.T) {
	for name, x := range map[string]struct {
		change func(e []Event)
		want   string
	}{
		"fires again":              {func(e []Event) { e[3].Type = "timer.fired" }, "S1: position 4: the timer cool of offer-1 fires again"},
		"fires without a wait":     {func(e []Event) { e[1].Type = "step.ready" }, "S1: position 3: timer.fired of offer-1, and cool does not wait"},
		"is no timer":              {func(e []Event) { e[5].Type, e[5].Step = "timer.fired", "agreed" }, "S1: position 6: agreed of offer-1 fires, and is no timer"},
		"completed by no timer":    {func(e []Event) { e[2].Type = "step.ready" }, "S1: position 4: cool of offer-1 is completed, and its timer did not fire"},
		"before its date":          {func(e []Event) { e[18].Wall = 69 }, "S6: position 19: opens of offer-2 fires 1ns before its date"},
		"another date":             {func(e []Event) { e[18].Due = 60 }, "S6: position 19: the date of opens of offer-2 was 1970-01-01T00:00:00.00000007Z, and is 1970-01-01T00:00:00.00000006Z"},
		"a date that is forgotten": {func(e []Event) { e[17].Due, e[18].Due = 0, 0 }, "S6: position 19: the date of opens of offer-2"},
		"a race won twice":         {func(e []Event) { e[8] = Event{Type: "step.completed", Instance: "offer-1", Step: "agreed"} }, "S1: position 9: agreed of offer-1 is completed, and bought had won their race"},
		"a loser that is left":     {func(e []Event) { e[8].Step = "other" }, "S1: position 15: offer-1 is completed, bought won its race, and opens has not lost it"},
		"a loser that is skipped":  {func(e []Event) { e[8].Code = "" }, "S1: position 15: offer-1 is completed, bought won its race, and opens has not lost it"},
		"lost before it is won":    {func(e []Event) { e[5].Type, e[5].Code = "step.skipped", "RACE_LOST" }, "S1: position 6: bought of offer-1 has lost a race that nothing has won"},
		"lost and won":             {func(e []Event) { e[8] = Event{Type: "step.completed", Instance: "offer-1", Step: "bought"} }, "S1: position 9: bought of offer-1 is completed, and had ended"},
		"nothing of the race":      {func(e []Event) { e[6].Type = "step.ready" }, "S1: position 11: close of offer-1 is completed, and nothing of its race is"},
		"decided again":            {func(e []Event) { e[13].Type = "step.rejected" }, "S1: position 14: signed of offer-1 is decided again: step.rejected behind step.approved"},
		"decided before it waits":  {func(e []Event) { e[11].Type = "step.ready" }, "S1: position 13: step.approved of offer-1, and signed does not wait"},
		"decided on a loser":       {func(e []Event) { e[12].Step = "agreed" }, "S1: position 13: step.approved of offer-1, and agreed does not wait"},
		"decided on a timer":       {func(e []Event) { e[2].Type = "step.approved" }, "S1: position 3: cool of offer-1, which waits for no approval: step.approved"},
		"completed by nobody":      {func(e []Event) { e[12].Type = "step.ready" }, "S1: position 14: signed of offer-1 is completed, and nobody approved it"},
		"rejected and completed":   {func(e []Event) { e[24].Type = "step.completed" }, "S1: position 25: signed of offer-2 is completed, and nobody approved it"},
		"rejected by nobody":       {func(e []Event) { e[23].Type = "step.ready" }, `S1: position 25: signed of offer-2 fails with REJECTED, and was decided on by ""`},
		"ends twice":               {func(e []Event) { e[25] = e[24] }, "S1: position 26: signed of offer-2 ends, and had ended: step.failed"},
		"fires when it is stopped": {func(e []Event) { e[30].Type = "timer.fired" }, "S1: position 31: timer.fired of offer-3, and cool does not wait"},
		"waits when it is stopped": {func(e []Event) { e[30].Type, e[30].Step = "step.waiting", "signed" }, "S1: position 31: signed of offer-3 begins to wait, and did before, or is over"},
		"waits again":              {func(e []Event) { e[2].Type = "step.waiting" }, "S1: position 3: cool of offer-1 begins to wait, and did before, or is over"},
		"ends well after all":      {func(e []Event) { e[31].Type = "instance.completed" }, "S1: position 32: offer-3 is completed, and was stopped"},
	} {
		t.Run(name, func(t *testing.T) {
			events := offered()
			x.change(events)
			wants(t, Waits(nil, numbered(events), testOffers), x.want)
		})
	}
}

// What counts is held to the operations around it: they leave the time that was promised, or one millisecond less.
func TestATimeThatIsTooShortIsFound(t *testing.T) {
	for _, x := range []struct {
		timer, total int
		want         string
	}{
		{98, 500, "S6: position 5: the timer cool of offer-1 fires within 99ms of position 4, and waits for 100ms"},
		{100, 498, "offer-3 times out within 499ms of its start, and has 500ms"},
	} {
		events, ops := around(offered(), x.timer, x.total)
		wants(t, Waits(ops, events, testOffers), x.want)
	}
	events, ops := around(offered(), 100, 500)
	retold := &Op{Kind: "start", Instance: "offer-1", Outcome: OK, Invoke: ms(900), Return: ms(901)} // it happened before it was asked
	if facts := Waits(append(ops, retold), events, testOffers); len(facts) > 0 {
		t.Errorf("what is told again makes a time short: %v", facts)
	}
	none := testOffers["offer"]
	none.Total = 0
	wants(t, Waits(ops, events, map[string]Waiting{"offer": none}), "S6: position 42: offer-3 times out")
}

// What somebody was told of a decision is what counts.
func TestWhatWasToldOfDecisionsIsInTheFeed(t *testing.T) {
	say := func(kind, id, step, outcome, code string, from int) *Op {
		return &Op{Kind: kind, Instance: id, Step: step, Outcome: outcome, Code: code, Invoke: ms(from), Return: ms(from + 1)}
	}
	sound := []*Op{
		say("approve", "offer-1", "signed", Refused, "NOT_READY", 1), say("approve", "offer-1", "signed", Unknown, "", 3), say("approve", "offer-1", "signed", OK, "", 5),
		say("approve", "offer-1", "signed", OK, "", 7), say("reject", "offer-1", "signed", Refused, "ALREADY_DONE", 9), say("approve", "offer-1", "agreed", Refused, "ALREADY_DONE", 11),
		say("reject", "offer-2", "signed", OK, "", 13), say("approve", "offer-2", "signed", Refused, "ALREADY_DONE", 15),
	}
	if facts := Answers(sound, offered()); len(facts) > 0 {
		t.Errorf("sound answers are refused: %v", facts)
	}
	wants(t, Answers([]*Op{say("approve", "offer-2", "signed", OK, "", 1)}, offered()), "S3: approve of offer-2/signed was acknowledged at 2ms and is not in the feed")
	wants(t, Answers([]*Op{say("reject", "offer-1", "signed", OK, "", 1)}, offered()), "S3: reject of offer-1/signed was acknowledged at 2ms and is not in the feed")
	wants(t, Answers([]*Op{say("approve", "offer-1", "signed", Refused, "ALREADY_DONE", 1)}, offered()), "S5: approve of offer-1/signed was refused with ALREADY_DONE, and is what counts, at 13 of the feed")
	wants(t, Answers([]*Op{say("reject", "offer-2", "signed", Refused, "ALREADY_DONE", 1)}, offered()), "S5: reject of offer-2/signed was refused with ALREADY_DONE, and is what counts, at 24")
}
