package model

import "testing"

// A reporter is registered once, and asked by who holds the lock.
func TestReporters(t *testing.T) {
	as := Reporter{URL: "u", Every: 1, Silent: 2}
	enlist := Command{Kind: Enlist, Name: "r", Reporter: as}
	made := Fact{Kind: "reporter.registered", Reporter: "r", Name: "u", Per: 1, Delay: 2}
	ask := func(token int64, id string) Command {
		return Command{Kind: Asked, Name: "r", Token: token, Ask: Ask{ID: id, Runs: 3, Observations: 2, Refused: 1}}
	}
	asked := func(token int64) Fact {
		return Fact{Kind: "reporter.asked", Reporter: "r", Token: token, Count: 3, Changed: 2, Refused: 1}
	}
	begun := func() *told {
		h := tell(t, flow(Step{Name: "a", Queue: "q", Attempts: 1}))
		h.good(one(enlist, made))
		return h
	}
	h := begun()
	at := h.s.Position
	again := enlist
	again.Answer.Existing = true
	h.good(one(again))
	other := enlist
	other.Reporter.URL = "v"
	other.Answer.Code = "REPORTER_EXISTS"
	h.good(one(other))
	h.bad("S5", "is answered", one(enlist))
	h = begun()
	h.bad("S4", "is registered", one(enlist, made))
	h = begun()
	fenced := ask(7, "a")
	fenced.Position, fenced.Answer.Code = at, "FENCED"
	h.good(one(fenced))
	done := ask(7, "a")
	done.Position = at
	h.bad("S2", "FENCED", one(done, asked(7)))
	h = begun()
	gone := Command{Kind: Strike, Name: "r"}
	h.good(one(gone, Fact{Kind: "reporter.removed", Reporter: "r"}))
	gone.Answer.Code = "REPORTER_NOT_FOUND"
	h.good(one(gone))
}
