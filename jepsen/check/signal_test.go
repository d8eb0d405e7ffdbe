package check

import "testing"

var testWaits = map[string]string{"saga/heard": "go", "saga/again": "go", "saga/other": "stop"}

// heard is a feed in which two steps get a signal each: one that was waited for, and one that was kept.
func heard() []Event {
	return []Event{
		{Position: 1, Type: "step.waiting", Instance: "saga-1", Step: "heard", Name: "go"},
		{Position: 2, Type: "signal.received", Instance: "saga-1", Signal: "1", Name: "go"},
		{Position: 3, Type: "signal.delivered", Instance: "saga-1", Signal: "1", Name: "go", Step: "heard"},
		{Position: 4, Type: "step.completed", Instance: "saga-1", Step: "heard"},
		{Position: 5, Type: "signal.received", Instance: "saga-2", Signal: "1", Name: "go"},
		{Position: 6, Type: "signal.received", Instance: "saga-1", Signal: "2", Name: "go"},
		{Position: 7, Type: "signal.delivered", Instance: "saga-1", Signal: "2", Name: "go", Step: "again"},
		{Position: 8, Type: "step.completed", Instance: "saga-1", Step: "again"},
	}
}

func TestABrokenSignalIsFound(t *testing.T) {
	if facts := Signals(heard(), testWaits); len(facts) > 0 {
		t.Fatalf("sound signals are refused: %v", facts)
	}
	for name, x := range map[string]struct {
		change func(e []Event)
		want   string
	}{
		"received again":       {func(e []Event) { e[5].Signal = "1" }, "S5: position 6: saga-1 receives signal 1 again"},
		"delivered again":      {func(e []Event) { e[6].Signal = "1" }, "S5: position 7: again of saga-1 gets signal 1, which was delivered before"},
		"never received":       {func(e []Event) { e[1].Signal = "3" }, "S5: position 3: heard of saga-1 gets signal 1, which the instance did not receive"},
		"of another instance":  {func(e []Event) { e[5].Instance = "saga-3" }, "again of saga-1 gets signal 2, which the instance did not receive"},
		"of another name":      {func(e []Event) { e[6].Step = "other" }, `gets signal 2, whose name is go, and waits for "stop"`},
		"by one that does not": {func(e []Event) { e[6].Step = "plain" }, `gets signal 2, whose name is go, and waits for ""`},
		"two for one":          {func(e []Event) { e[6].Step = "heard" }, "heard of saga-1 gets signal 2, and had one"},
		"without a signal":     {func(e []Event) { e[6].Type = "step.ready" }, "S5: position 8: again of saga-1 is completed without a signal"},
	} {
		t.Run(name, func(t *testing.T) {
			events := heard()
			x.change(events)
			wants(t, Signals(events, testWaits), x.want)
		})
	}
}

// What an operator or a sender was told is in the feed, also when it was another of its tries, or another cause, that did it.
func TestWhatWasToldOfSignalsAndCancelsIsInTheFeed(t *testing.T) {
	events := append(heard(), Event{Position: 9, Type: "instance.cancelling", Instance: "saga-1"}, Event{Position: 10, Type: "instance.compensating", Instance: "saga-2"})
	signal := func(id string, from int) *Op {
		return &Op{Kind: "signal", Instance: "saga-1", Signal: id, Outcome: OK, Invoke: ms(from), Return: ms(from + 1)}
	}
	cancel := func(id string, from int) *Op {
		return &Op{Kind: "cancel", Instance: id, Outcome: OK, Invoke: ms(from), Return: ms(from + 1)}
	}
	if facts := Answers([]*Op{signal("1", 1), signal("2", 3), signal("1", 5), cancel("saga-1", 7), cancel("saga-2", 9), signal("1", 11), cancel("saga-1", 13)}, events); len(facts) > 0 {
		t.Errorf("sound answers are refused: %v", facts)
	}
	wants(t, Answers([]*Op{signal("3", 1)}, events), "S3: signal of saga-1 was acknowledged at 2ms and is not in the feed")
	wants(t, Answers([]*Op{cancel("saga-3", 1)}, events), "S3: cancel of saga-3 was acknowledged at 2ms and is not in the feed")
	late := &Op{Kind: "complete", Instance: "saga-1", Step: "heard", Outcome: OK, Invoke: ms(20), Return: ms(21)}
	wants(t, Answers([]*Op{cancel("saga-1", 7), late}, events), "S4: complete of saga-1/heard, asked at 20ms, happened at 4, before cancel of saga-1 at 9")
}
