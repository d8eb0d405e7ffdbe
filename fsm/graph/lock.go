package graph

import (
	"cmp"
	"slices"
)

// Lock is one lock that a claim needs: exclusive, unless Shared or with permits (Limit above zero, of
// which it takes Take).
type Lock struct {
	Name        string
	Shared      bool
	Limit, Take int32
	Hold        Hold
}

// Hold is for how long a lock is held: a longer one is greater.
type Hold uint8

const (
	// HoldStep is until the lease is over.
	HoldStep Hold = iota
	// HoldScope is until what the step is inside of has ended: the body's scope, item or turn, or the instance.
	HoldScope
	// HoldInstance is until the instance has ended.
	HoldInstance
)

// String is how definitions say it.
func (h Hold) String() string { return [...]string{"step", "scope", "instance"}[h] }

// lock is a lock whose name is computed.
type lock struct {
	Lock
	where string
	name  []part
}

// LocksOf evaluates a node's lock names and sorts by them. Where two names turn out equal, exclusive or shared locks
// become one, which is held for as long as the longer of the two, and permits of the same limit add up; other pairs are a
// LOCK_CONFLICT. Errors are *EvalError.
func (g *Graph) LocksOf(node int, view View) ([]Lock, error) {
	v := g.evaluation(view)
	var locks []Lock
	for _, l := range g.steps[node].locks {
		name, err := v.text(l.name, maxResult)
		if err != nil {
			return nil, err
		}
		if nameFault(name) != "" {
			return nil, l.failed(LockInvalid)
		}
		if locks, err = l.merged(locks, name); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(locks, func(a, b Lock) int { return cmp.Compare(a.Name, b.Name) })
	return locks, nil
}

// Holds is for how long the locks of a node are held: that of the one which is held longest.
func (g *Graph) Holds(node int) (longest Hold) {
	for _, l := range g.steps[node].locks {
		longest = max(longest, l.Hold)
	}
	return longest
}

// merged adds the lock of that name to the others.
func (l *lock) merged(locks []Lock, name string) ([]Lock, error) {
	this := l.Lock
	this.Name = name
	for i, other := range locks {
		if other.Name != name {
			continue
		}
		if other.Shared != this.Shared || other.Limit != this.Limit || other.Take+this.Take > other.Limit {
			return nil, l.failed(LockConflict)
		}
		locks[i].Take += this.Take
		locks[i].Hold = max(other.Hold, this.Hold)
		return locks, nil
	}
	return append(locks, this), nil
}

func (l *lock) failed(code string) *EvalError {
	return &EvalError{Code: code, Where: l.where, Expression: spelled(l.name)}
}

// spelled is a text as the definition has it.
func spelled(parts []part) string {
	var text string
	for _, p := range parts {
		if p.expr == nil {
			text += p.literal
		} else {
			text += "${" + p.expr.text + "}"
		}
	}
	return text
}
