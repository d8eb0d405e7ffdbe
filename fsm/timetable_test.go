package fsm

import (
	"fmt"
	"math/rand"
	"testing"

	"github.com/google/btree"
)

// A timetable is as a tree of its deadlines: whatever is added and taken out, what is first is the same, few and many at a moment.
func TestATimetableIsInOrder(t *testing.T) {
	for seed := range int64(20) {
		chance := rand.New(rand.NewSource(seed))
		table, tree := newTimetable(), btree.NewG(8, deadline.less)
		moments := []int{2, 20, 2000}[seed%3]
		for n := range 4000 {
			d := randomDeadline(chance, moments)
			switch {
			case chance.Intn(5) < 3 && !tree.Has(d):
				table.add(d)
				tree.ReplaceOrInsert(d)
			case chance.Intn(3) == 0:
				if first, ok := tree.DeleteMin(); ok {
					table.drop(again(first))
				}
			default:
				table.drop(d)
				tree.Delete(d)
			}
			sameFirst(t, fmt.Sprintf("seed %d, step %d", seed, n), table, tree)
		}
		count := 0
		for d := range table.all() {
			if count++; !tree.Has(d) {
				t.Fatalf("seed %d: %v is there", seed, d)
			}
		}
		if count != tree.Len() {
			t.Fatalf("seed %d: %d deadlines are there, not %d", seed, count, tree.Len())
		}
		for range table.all() {
			break // which ends it
		}
		for tree.Len() > 0 {
			first, _ := tree.DeleteMin()
			table.drop(again(first))
			sameFirst(t, fmt.Sprintf("seed %d, at the end", seed), table, tree)
		}
		if len(table.moments) > 0 || table.order.Len() > 0 {
			t.Fatalf("seed %d: %d moments are left", seed, len(table.moments))
		}
	}
}

func randomDeadline(chance *rand.Rand, moments int) deadline {
	d := deadline{at: int64(1 + chance.Intn(moments)), kind: deadlineWait + deadlineKind(chance.Intn(3))}
	switch d.kind {
	case deadlineRun:
		d.run = &runKey{"n", fmt.Sprint("i", chance.Intn(500)), at{int32(chance.Intn(2)), int32(chance.Intn(2))}}
	case deadlineSession:
		d.session = int64(chance.Intn(100))
	default:
		d.wait = uint64(chance.Intn(100))
	}
	return d
}

// again is a deadline whose run is named by another piece of memory, as that of an instance that was read again.
func again(d deadline) deadline {
	if d.run != nil {
		k := *d.run
		d.run = &k
	}
	return d
}

func sameFirst(t *testing.T, when string, table *timetable, tree *btree.BTreeG[deadline]) {
	t.Helper()
	want, some := tree.Min()
	got, any := table.first()
	if some != any || some && (!got.same(want) || table.next() != want.at) {
		t.Fatalf("%s: the first is %v, not %v", when, got, want)
	}
}
