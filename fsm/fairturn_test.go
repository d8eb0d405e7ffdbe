package fsm

import (
	"fmt"
	"testing"

	"github.com/google/btree"

	"github.com/lockstep-dev/lockstep/fsm/table"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// turns is a queue alone, whose runs are numbered as they come.
type turns struct {
	m       *Machine
	q       *queue
	weights map[string]int
	came    int64
}

func newTurns() *turns {
	m, err := Open(table.NewMemory())
	must(err)
	return &turns{m: m, q: m.namespaces[DefaultNamespace].queue("q"), weights: map[string]int{}}
}

func (s *turns) settle() {
	if q, l := s.m.unsettled.queue, s.m.unsettled.lane; l != nil {
		s.m.unsettled.queue, s.m.unsettled.lane = nil, nil
		s.m.settle(q, l)
	}
}

func (s *turns) comes(key string) {
	s.came++
	s.m.joinLine(s.q, key, readyRun{s.came, s.came, &runKey{instance: key}})
	s.settle()
}

// lease leases the next run, and returns its key.
func (s *turns) lease() string {
	first, _ := s.q.next()
	l, key := s.q.hold(), first.run.instance
	s.m.leaveLine(s.q, key, first)
	s.settle()
	s.m.turnOver(s.q, l, true, s.weights[key])
	return key
}

// behind is how many leases go before the next of a key.
func (s *turns) behind(key string) (n int) {
	for s.lease() != key {
		n++
	}
	return n
}

// A flood under one key delays another key's first run by one lease, whatever their weights; a flood under each of many
// keys by one of each. A turn of the queue is each key's weight in leases, so that is less than the two turns promised.
func TestAFloodDelaysAnotherKeyByATurn(t *testing.T) {
	const flood = 10_000
	for _, c := range []struct{ floods, weight, of int }{{1, 1, 1}, {1, 1, 7}, {1, 1000, 1}, {1, 3, 1000}, {100, 1, 1}, {100, 9, 2}, {2_000, 1, 1}, {2_000, 5, 1}} {
		s := newTurns()
		for n := range max(flood, 12*c.floods) {
			key := fmt.Sprint("k", n%c.floods)
			s.weights[key] = c.weight
			s.comes(key)
		}
		most := 0
		for begun := range 8 { // the first comes before anything of the flood is leased, the others in the midst of it
			for range begun * 31 {
				s.lease()
			}
			late := fmt.Sprint("late", begun)
			s.weights[late] = c.of
			s.comes(late)
			if got := s.behind(late); got > c.floods {
				t.Errorf("%d keys of weight %d: %d leases go before the first run of one of weight %d", c.floods, c.weight, got, c.of)
			} else {
				most = max(most, got)
			}
		}
		t.Logf("%d keys of weight %d, and others of weight %d: at most %d leases go before a first run", c.floods, c.weight, c.of, most)
	}
}

// Between keys that wait, leases are as their weights are: no more than a turn of one of them apart.
func TestLeasesAreAsWeightsAre(t *testing.T) {
	s := newTurns()
	s.weights = map[string]int{"a": 1, "b": 2, "c": 7, "d": 500, "": 1}
	for key, weight := range s.weights {
		for range weight * 20 {
			s.comes(key)
		}
	}
	leased := map[string]int{}
	for range 11 * (1 + 2 + 7 + 500 + 1) {
		leased[s.lease()]++
	}
	for key, weight := range s.weights {
		if got := leased[key]; got < 10*weight-1 || got > 12*weight+1 {
			t.Errorf("in 11 turns key %q of weight %d is leased %d times", key, weight, got)
		}
	}
}

// Keys that are used once cannot keep out one that was leased before, and no more of them are remembered than are bounded.
func TestNewKeysDoNotKeepOthersOut(t *testing.T) {
	s := newTurns()
	for range 10 {
		s.comes("old")
	}
	s.comes("other")
	s.lease()
	behind := 0
	for n := 0; s.q.lane("old").ready > 8; n++ {
		s.comes(fmt.Sprint("new", n))
		if s.lease() != "old" {
			behind++
		}
		if s.q.fair.idle.Len() > maxIdle {
			t.Fatalf("%d keys are remembered", s.q.fair.idle.Len())
		}
	}
	if behind > maxIdle+10 {
		t.Errorf("%d keys that came later go before one that was leased once", behind)
	}
}

// What a lease does does not grow with the keys that wait, but for the depth of trees: comparisons are counted.
func TestALeaseIsNotLinearInKeys(t *testing.T) {
	var compared int
	cost := func(keys int) int {
		s := newTurns()
		f := s.q.begin()
		f.line = btree.NewG(32, func(a, b *lane) bool { compared++; return lanesInLine(a, b) })
		f.runs = btree.NewG(32, func(a, b keyedRun) bool { compared++; return a.less(b) })
		for n := range 2 * keys {
			s.comes(fmt.Sprint("k", n%keys))
		}
		compared = 0
		for range keys {
			s.lease()
		}
		return compared / keys
	}
	few, many := cost(100), cost(10_000)
	t.Logf("%d comparisons a lease with 100 keys, %d with 10,000", few, many)
	if many > 4*few {
		t.Errorf("a lease compares %d times with 10,000 keys and %d times with 100", many, few)
	}
}

// A queue without keys has nothing of turns, and its order is what it was.
func TestAQueueWithoutKeysPaysNothing(t *testing.T) {
	s := newTurns()
	for range 100 {
		s.comes("")
	}
	first, _ := s.q.next()
	if got := testing.AllocsPerRun(100, func() {
		s.m.leaveLine(s.q, "", first)
		s.m.joinLine(s.q, "", first)
		s.m.turnOver(s.q, s.q.hold(), true, 0)
	}); got > 0 || s.q.fair != nil || s.q.spare != nil {
		t.Errorf("it allocates %v times", got)
	}
	if next, _ := s.q.next(); next.seq != 1 || first.seq != 1 {
		t.Errorf("the first is %d", next.seq)
	}
}

// The same through commands: a flood of ten thousand runs of one key, and then one of another.
func TestAFloodThroughCommands(t *testing.T) {
	r := newRig(t)
	r.register(byCustomer)
	worker := r.session(1000 * second)
	for n := range 10_000 {
		r.start("w", fmt.Sprint("a", n), `{"c":"a"}`)
	}
	r.takes(worker, "a0 a1")
	r.starts("b1")
	r.takes(worker, "b1")
	r.reopened()
	r.starts("c1")
	r.takes(worker, "c1")
	if list, err := r.m.ListQueues(&v1.ListQueuesRequest{}); err != nil || list.Queues[0].Keys[0].Ready != 9998 {
		t.Errorf("listed are %v, %v", list, err)
	}
}

func BenchmarkLeaseByKey(b *testing.B) {
	for _, keys := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(keys, " keys"), func(b *testing.B) {
			s := newTurns()
			for n := range 20_000 {
				s.comes(fmt.Sprint("k", n%keys))
			}
			b.ReportAllocs()
			for b.Loop() {
				s.comes(s.lease())
			}
		})
	}
}
