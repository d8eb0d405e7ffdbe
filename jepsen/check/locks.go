package check

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// lock is what one exclusive lock is by the rules: who holds it, under which token, and which tokens there were.
type lock struct {
	holder   int64 // zero: nobody; ghost: a call whose answer nobody knows
	last     int64
	released int64
}

const ghost = -1

// model says in which states a lock may be after an operation on it.
var model = porcupine.NondeterministicModel{
	Init:  func() []any { return []any{lock{}} },
	Step:  func(state, input, output any) []any { return next(state.(lock), input.(*Op)) },
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(input, _ any) string {
		op := input.(*Op)
		return fmt.Sprintf("%s %d: %s %s", op.Kind, op.Token, op.Outcome, op.Code)
	},
}

func next(l lock, op *Op) []any {
	switch op.Kind + " " + op.Outcome {
	case "acquire ok":
		if l.holder > 0 || op.Token <= l.last {
			return nil
		}
		return []any{lock{op.Token, op.Token, l.released}}
	case "acquire refused":
		if l.holder == 0 {
			return nil
		}
		return []any{l}
	case "acquire unknown":
		// It may have been granted; then its holder never learned the token, and it is given back as an orphan some time.
		if l.holder != 0 {
			return []any{l}
		}
		return []any{l, lock{ghost, l.last, l.released}}
	case "unlock ok":
		switch {
		case l.holder == op.Token:
			return []any{lock{0, l.last, op.Token}}
		case l.released == op.Token:
			return []any{l}
		}
		return nil
	case "unlock refused":
		// The client asks again when an answer was lost: what is refused in the end was done by an earlier try, or the token
		// holds no longer. In no case does it hold afterwards.
		if l.holder == op.Token {
			return []any{lock{0, l.last, op.Token}}
		}
		return []any{l}
	case "unlock unknown":
		if l.holder == op.Token {
			return []any{l, lock{0, l.last, op.Token}}
		}
		return []any{l}
	case "look ok":
		switch {
		case l.holder == ghost && op.Token == 0:
			return []any{lock{0, l.last, l.released}}
		case l.holder == ghost:
			return []any{lock{ghost, max(l.last, op.Token), l.released}}
		case l.holder != op.Token:
			return nil
		}
		return []any{l}
	}
	return []any{l} // a look that was not answered saw nothing
}

// Locks checks that what was answered about exclusive locks fits one order of all calls (S4), by porcupine, lock by
// lock. A check that does not end within the limit is a violation too: it shows nothing.
func Locks(ops []*Op, limit time.Duration) []Fact {
	var f faults
	lapses := map[string]bool{} // of sessions that end by themselves: no order of calls explains those locks
	for _, op := range ops {
		lapses[op.Lock] = lapses[op.Lock] || op.Lapses
	}
	byLock := map[string][]porcupine.Operation{}
	var names []string
	for _, op := range ops {
		if op.Lock == "" || lapses[op.Lock] || op.Kind != "acquire" && op.Kind != "unlock" && op.Kind != "look" || op.Kind == "look" && op.Outcome != OK {
			continue
		}
		end := int64(op.Return)
		if op.Outcome == Unknown {
			end = math.MaxInt64
		}
		if byLock[op.Lock] == nil {
			names = append(names, op.Lock)
		}
		byLock[op.Lock] = append(byLock[op.Lock], porcupine.Operation{Input: op, Call: int64(op.Invoke), Output: op, Return: end})
	}
	slices.Sort(names)
	m := model.ToModel()
	for _, name := range names {
		switch porcupine.CheckOperationsTimeout(m, byLock[name], limit) {
		case porcupine.Illegal:
			f.add("S4", "what was answered about lock %s in %d calls fits no order of them", name, len(byLock[name]))
		case porcupine.Unknown:
			f.add("S4", "whether the %d calls on lock %s fit an order was not found out within %s", len(byLock[name]), name, limit)
		}
	}
	return f.list
}
