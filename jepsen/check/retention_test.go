package check

import (
	"strings"
	"testing"
	"time"
)

func TestRetention(t *testing.T) {
	at := func(position int64, kind, id string, seconds int64) Event {
		return Event{Position: position, Type: kind, Instance: id, Wall: seconds * int64(time.Second)}
	}
	removes := func(position, through, count, seconds int64) Event {
		return Event{Position: position, Type: "retention.removed", Through: through, Count: count, Wall: seconds * int64(time.Second)}
	}
	begun := []Event{at(1, "instance.started", "a", 0), at(2, "instance.started", "b", 0), at(3, "instance.started", "c", 0), at(4, "instance.completed", "a", 1), at(5, "instance.cancelled", "b", 2)}
	a, b := Exported{"a", 4, "completed", 2}, Exported{"b", 5, "cancelled", 2}
	for name, x := range map[string]struct {
		more     []Event
		exported []Exported
		there    string
		removed  int
		want     string
	}{
		"nothing":                 {nil, nil, "a=completed b=cancelled c=running", 0, ""},
		"one goes":                {[]Event{removes(6, 4, 1, 11)}, []Exported{a}, "b=cancelled c=running", 1, ""},
		"one after the other":     {[]Event{removes(6, 4, 1, 11), removes(7, 5, 1, 12)}, []Exported{a, b, a}, "c=running", 2, ""},
		"an id is used again":     {[]Event{removes(6, 4, 1, 11), at(7, "instance.started", "a", 12)}, []Exported{a}, "a=running b=cancelled c=running", 1, ""},
		"early":                   {[]Event{removes(6, 4, 1, 10)}, []Exported{a}, "b=cancelled c=running", 1, "is removed 9s behind its end"},
		"not exported":            {[]Event{removes(6, 5, 2, 20)}, []Exported{a}, "c=running", 2, "b is removed, which ended at 5 as cancelled, and no export has it so"},
		"exported otherwise":      {[]Event{removes(6, 4, 1, 20)}, []Exported{{"a", 4, "failed", 2}}, "b=cancelled c=running", 1, "no export has it so"},
		"exported without events": {[]Event{removes(6, 4, 1, 20)}, []Exported{{"a", 4, "completed", 0}}, "b=cancelled c=running", 1, "with 0 events"},
		"the living goes":         {[]Event{removes(6, 4, 1, 20)}, []Exported{a}, "b=cancelled", 1, "c is not there, and was not removed"},
		"more than it says":       {[]Event{removes(6, 4, 1, 20)}, []Exported{a}, "c=running", 1, "b is not there, and was not removed"},
		"less than it says":       {[]Event{removes(6, 5, 2, 20)}, []Exported{a, b}, "b=cancelled c=running", 2, "b is there, and was removed"},
		"another count":           {[]Event{removes(6, 5, 1, 20)}, []Exported{a, b}, "c=running", 2, "1 instances are removed up to position 5, and 2 had ended"},
		"started while it lives":  {[]Event{at(6, "instance.started", "c", 3)}, nil, "a=completed b=cancelled c=running", 0, "c is started, and was at 3"},
		"from nowhere":            {nil, nil, "a=completed b=cancelled c=running d=running", 0, "d is there, and was never started"},
		"as another":              {nil, nil, "a=completed b=completed c=running", 0, "b is completed, and ended as cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			there := map[string]string{}
			for _, pair := range strings.Fields(x.there) {
				id, state, _ := strings.Cut(pair, "=")
				there[id] = state
			}
			removed, got := Retention(append(append([]Event{}, begun...), x.more...), Kept{10 * time.Second, x.exported, there})
			if removed != x.removed || x.want == "" && len(got) > 0 || x.want != "" && (len(got) != 1 || !strings.Contains(got[0].What, x.want)) {
				t.Errorf("%d are removed, found %v; want %q", removed, got, x.want)
			}
		})
	}
}
