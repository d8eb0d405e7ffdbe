package check

import (
	"cmp"
	"slices"
	"time"
)

// Peeks checks what was seen of locks through any node ("look" and "peek") against what was acknowledged by the time it
// was asked, in real time (S4): not a token that was given back, nor one older than a grant that was known; and not that
// nobody holds a lock whose holder was known and had not asked to give it back. Porcupine says more of fewer operations:
// this is linear, however many looks wait for an answer at once.
func Peeks(ops []*Op) []Fact {
	var f faults
	locks := map[string]*lockTold{}
	of := func(op *Op) *lockTold {
		if locks[op.Lock] == nil {
			locks[op.Lock] = &lockTold{asked: map[int64]*Op{}, gone: map[int64]*Op{}}
		}
		return locks[op.Lock]
	}
	for _, op := range ops {
		switch {
		case op.Kind == "acquire" && op.Outcome == OK:
			of(op).grants = append(of(op).grants, op)
		case op.Kind == "unlock":
			of(op).unlock(op)
		}
		if op.Lapses {
			of(op).lapses = true
		}
	}
	for _, t := range locks {
		slices.SortFunc(t.grants, func(a, b *Op) int { return cmp.Compare(a.Return, b.Return) })
		t.newest = make([]*Op, len(t.grants))
		for i, g := range t.grants {
			if t.newest[i] = g; i > 0 && t.newest[i-1].Token > g.Token {
				t.newest[i] = t.newest[i-1]
			}
		}
	}
	for _, op := range ops {
		if t := locks[op.Lock]; t != nil && (op.Kind == "look" || op.Kind == "peek") && op.Outcome == OK {
			t.peek(&f, op)
		}
	}
	return f.list
}

// lockTold is what was told of one lock.
type lockTold struct {
	grants []*Op         // in the order of their answers
	newest []*Op         // of the grants up to each, the one with the highest token
	asked  map[int64]*Op // by token, the first call to give it back
	gone   map[int64]*Op // by token, the first answer that it is given back
	lapses bool
}

func (t *lockTold) unlock(op *Op) {
	if first := t.asked[op.Token]; first == nil || op.Invoke < first.Invoke {
		t.asked[op.Token] = op
	}
	if first := t.gone[op.Token]; op.Outcome == OK && (first == nil || op.Return < first.Return) {
		t.gone[op.Token] = op
	}
}

func (t *lockTold) peek(f *faults, op *Op) {
	if gone := t.gone[op.Token]; op.Token != 0 && gone != nil && gone.Return < op.Invoke {
		f.add("S4", "a look at lock %s, asked at %s, saw token %d, whose release was acknowledged at %s", op.Lock, op.Invoke, op.Token, gone.Return)
	}
	i, _ := slices.BinarySearchFunc(t.grants, op.Invoke, func(g *Op, at time.Duration) int { return cmp.Compare(g.Return, at) })
	if i == 0 {
		return
	}
	switch known := t.newest[i-1]; {
	case op.Token != 0 && op.Token < known.Token:
		f.add("S4", "a look at lock %s, asked at %s, saw token %d; token %d was granted, as was known at %s", op.Lock, op.Invoke, op.Token, known.Token, known.Return)
	case op.Token == 0 && !t.lapses && (t.asked[known.Token] == nil || t.asked[known.Token].Invoke > op.Return):
		f.add("S4", "a look at lock %s, asked at %s, saw nobody hold it; token %d does, as was known at %s", op.Lock, op.Invoke, known.Token, known.Return)
	}
}
