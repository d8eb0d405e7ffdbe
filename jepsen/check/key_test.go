package check

import (
	"strings"
	"testing"
)

// keyedOps: one and two have the key k, each one of its own; a signal by box may start left or right.
func keyedOps() []*Op {
	return []*Op{
		{Kind: "start", Instance: "one", Keys: []string{"own=1", "k=v"}, Outcome: OK},
		{Kind: "start", Instance: "two", Keys: []string{"own=2", "k=v"}, Outcome: Unknown},
		{Kind: "message", Signal: "l", Keys: []string{"box=1", "k=v"}, Starts: "left", Instance: "left", Outcome: OK},
		{Kind: "message", Signal: "r", Keys: []string{"box=1", "k=v"}, Starts: "right", Instance: "left", Outcome: OK},
	}
}

func starts(instance string) Event { return Event{Type: "instance.started", Instance: instance} }

func ended(instance string) Event { return Event{Type: "instance.completed", Instance: instance} }

func toldBy(how, key, id, instance string) Event {
	return Event{Type: "signal." + how, Key: key, Signal: id, Instance: instance}
}

// hears has an instance receive a signal; key is that under which it was kept.
func hears(instance, id, key string) Event {
	return Event{Type: "signal.received", Instance: instance, Signal: id, Key: key}
}

// boxed is how left is started by the one signal, and has the other.
var boxed = []Event{starts("left"), hears("left", "l", ""), toldBy("correlated", "box=1", "l", "left"), hears("left", "r", ""), toldBy("correlated", "box=1", "r", "left")}

func TestKeys(t *testing.T) {
	for name, x := range map[string]struct {
		events []Event
		want   string
	}{
		"one starts, and has the others": {nil, ""},
		"found":                          {[]Event{starts("one"), hears("one", "a", ""), toldBy("correlated", "own=1", "a", "one"), ended("one")}, ""},
		"kept, and taken in order": {[]Event{toldBy("kept", "own=1", "a", ""), toldBy("kept", "own=1", "b", ""), starts("one"), hears("one", "a", "own=1"), hears("one", "b", "own=1"),
			{Type: "step.waiting", Instance: "one"}}, ""},
		"broadcast":                 {[]Event{ended("left"), starts("one"), starts("two"), hears("one", "a", ""), hears("two", "a", ""), toldBy("broadcast", "k=v", "a", "")}, ""},
		"broadcast to nobody":       {[]Event{toldBy("broadcast", "own=1", "a", ""), starts("one")}, ""},
		"another behind its end":    {[]Event{ended("left"), starts("right")}, ""},
		"told twice":                {[]Event{starts("one"), hears("one", "a", ""), toldBy("correlated", "own=1", "a", "one"), toldBy("correlated", "own=1", "a", "one")}, "told before"},
		"told again behind its end": {[]Event{ended("left"), toldBy("kept", "box=1", "l", "")}, "told before"},
		"found behind its end":      {[]Event{starts("one"), ended("one"), hears("one", "a", ""), toldBy("correlated", "own=1", "a", "one")}, "has ended"},
		"one of two":                {[]Event{starts("one"), hears("one", "a", ""), toldBy("correlated", "k=v", "a", "one")}, "those that have the key are [left one]"},
		"it does not have it":       {[]Event{starts("one"), toldBy("correlated", "own=1", "a", "one")}, "one does not have it"},
		"kept beside who has it":    {[]Event{starts("one"), toldBy("kept", "own=1", "a", "")}, "which one has"},
		"left where it was kept":    {[]Event{toldBy("kept", "own=1", "a", ""), starts("one"), {Type: "step.waiting", Instance: "one"}}, "stays under own=1"},
		"taken twice":               {[]Event{ended("left"), toldBy("kept", "k=v", "a", ""), starts("one"), hears("one", "a", "k=v"), starts("two"), hears("two", "a", "k=v")}, "where [] are kept"},
		"taken out of order":        {[]Event{toldBy("kept", "own=1", "a", ""), toldBy("kept", "own=1", "b", ""), starts("one"), hears("one", "b", "own=1")}, "where [a b] are kept"},
		"taken later":               {[]Event{toldBy("kept", "own=1", "a", ""), starts("one"), {Type: "step.waiting", Instance: "one"}, hears("one", "a", "own=1")}, "was not just started"},
		"taken by another":          {[]Event{toldBy("kept", "own=1", "a", ""), starts("two"), hears("two", "a", "own=1")}, "was not just started with that"},
		"broadcast, and not to all": {[]Event{ended("left"), starts("one"), starts("two"), hears("one", "a", ""), toldBy("broadcast", "k=v", "a", "")}, "two does not have it"},
		"two are started":           {[]Event{starts("right")}, "and left lives"},
		"over before its time":      {[]Event{toldBy("expired", "own=1", "a", "")}, "is over"},
	} {
		got := ""
		for _, f := range Keys(keyedOps(), numbered(append(append([]Event{}, boxed...), x.events...))) {
			got += f.What + "; "
		}
		if (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: found %q; want %q", name, got, x.want)
		}
	}
}

// Who is told that a signal reached somebody finds it there.
func TestWhatIsToldOfASignalByKeyIsInTheFeed(t *testing.T) {
	ops := append(keyedOps(), &Op{Kind: "message", Signal: "a", Keys: []string{"own=1"}, Instance: "one", Outcome: OK})
	if facts := Keys(ops, numbered(append([]Event{}, boxed...))); len(facts) != 1 || facts[0].Guarantee != "S3" {
		t.Errorf("found %v", facts)
	}
	message := &Op{Kind: "message", Signal: "l", Keys: []string{"box=1"}, Outcome: OK}
	if facts := Answers([]*Op{message}, numbered(append([]Event{}, boxed...))); len(facts) != 0 {
		t.Errorf("found %v", facts)
	}
	message.Signal = "x"
	if facts := Answers([]*Op{message}, numbered(append([]Event{}, boxed...))); len(facts) != 1 {
		t.Errorf("found %v", facts)
	}
}

// Nobody who sends by a key is told that somebody has ended, nor of several where there is one.
func TestWhatASignalByKeyIsRefusedWith(t *testing.T) {
	for _, x := range []struct {
		key, code, starts string
		faults            int
	}{
		{"k=v", "KEY_AMBIGUOUS", "", 0}, {"own=1", "KEY_AMBIGUOUS", "", 1}, {"box=1", "KEY_AMBIGUOUS", "left", 1},
		{"box=1", "INSTANCE_EXISTS", "left", 0}, {"k=v", "INSTANCE_EXISTS", "", 1}, {"k=v", "ALREADY_ENDED", "", 1},
	} {
		op := &Op{Kind: "message", Signal: "z", Keys: []string{x.key}, Starts: x.starts, Outcome: Refused, Code: x.code}
		if facts := Keys(append(keyedOps(), op), numbered(append([]Event{}, boxed...))); len(facts) != x.faults {
			t.Errorf("%+v: found %v", x, facts)
		}
	}
}
