package model

import "testing"

const stream = 77

// A stream's credit is used up, asked for anew by a completion, and ended with its stream, all in one entry: nobody waits
// behind it. Without the end, somebody does.
func TestCreditThatEndsInTheEntryThatUsedItUp(t *testing.T) {
	for name, ends := range map[string]bool{"its stream ends": true, "its stream goes on": false} {
		h := tell(t, flow(Step{Name: "a", Queue: "q"}))
		h.session(1)
		h.good(start("w", "i1", "a"))
		h.good(leased(1, "i1", "a", 1, 1, 0))
		h.good(one(Command{Kind: Stream, Session: 1, Call: stream, Answer: Answer{Grants: []Grant{{Instance: "i1", Step: "a", Token: 1, Session: 1, Attempt: 1}}}}))
		h.good(one(Command{Kind: Poll, Session: 1, Call: stream, Queues: []string{"q"}, Count: 1, Credit: true}))
		grant := Grant{Instance: "i2", Step: "a", Token: 2, Session: 1, Attempt: 1}
		entry := Entry{
			Commands: []Command{
				{Kind: Start, Workflow: "w", Instance: "i2", Answer: Answer{State: Running}},
				{Kind: Complete, Session: 1, Call: stream, Instance: "i1", Step: "a", Token: 1, Count: 1, HasNext: true, Answer: Answer{State: Completed}},
			},
			Facts: []Fact{
				{Ordinal: 1, Kind: "instance.started", Workflow: "w", Instance: "i2"},
				{Ordinal: 1, Kind: "step.ready", Instance: "i2", Step: "a"},
				{Ordinal: 1, Kind: "step.leased", Instance: "i2", Step: "a", Session: 1, Token: 2, Attempt: 1},
				{Ordinal: 2, Kind: "step.completed", Instance: "i1", Step: "a", Token: 1, Attempt: 1},
				{Ordinal: 2, Kind: "instance.completed", Instance: "i1"},
			},
			Settled: []Settled{{Call: stream, Answer: Answer{Grants: []Grant{grant}}}},
		}
		if ends {
			entry.Commands = append(entry.Commands, Command{Kind: EndWait, Ended: stream})
		}
		h.good(entry)
		if ready := start("w", "i3", "a"); ends {
			h.good(ready)
		} else {
			h.bad("liveness", "waits for queue q", ready)
		}
		if t.Failed() {
			t.Log(name)
		}
	}
}
