package pending

import "testing"

func logOf(index uint64, entries ...int64) *Log[int64] {
	l := New(func(e int64) int64 { return e })
	l.Add(index, entries...)
	return l
}

// What is pending is there to be sent, and neither to be applied nor to be told of before the disk has it.
func TestNothingRestsOnWhatTheDiskHasNot(t *testing.T) {
	l := logOf(5, 10, 20)
	given := len(l.Next())
	l.Add(7, 30)
	for _, at := range []struct {
		when    string
		synced  int
		durable uint64
	}{{"before any write", 0, 4}, {"with one of two written", 1, 5}, {"with what the disk was given", given - 1, 6}, {"with all", 1, 1<<64 - 1}} {
		l.Synced(at.synced)
		if got := l.Durable(); got != at.durable {
			t.Errorf("%s: %d is durable, want %d", at.when, got, at.durable)
		}
		for index := uint64(3); index <= 7; index++ {
			if may := l.Applies(index); may != (index <= at.durable) {
				t.Errorf("%s: entry %d may be applied: %v", at.when, index, may)
			}
			if told := l.Tells(index); told != min(index, at.durable) {
				t.Errorf("%s: of entry %d followers are told %d", at.when, index, told)
			}
			if _, found := l.Get(index); found != (index > at.durable && index >= 5) {
				t.Errorf("%s: entry %d is pending: %v", at.when, index, found)
			}
		}
	}
	if _, _, found := l.Bounds(); found || l.bytes != 0 {
		t.Errorf("%v, %d bytes are left", found, l.bytes)
	}
}

// What the disk was given stays as it is, whatever is added behind it.
func TestWhatTheDiskWritesDoesNotChange(t *testing.T) {
	l := logOf(1, 1, 2)
	given := l.Next()
	l.Add(3, 3)
	_ = append(given, 9)
	if e, found := l.Get(3); !found || e != 3 {
		t.Errorf("entry 3: %d, %v", e, found)
	}
	if first, last, found := l.Bounds(); first != 1 || last != 3 || !found {
		t.Errorf("%d to %d, %v", first, last, found)
	}
}

func TestALogIsFullByItsBytes(t *testing.T) {
	l := logOf(1, maxBytes)
	if l.Full() {
		t.Error("full at the bound")
	}
	l.Add(2, 1)
	if !l.Full() {
		t.Error("not full behind the bound")
	}
	l.Synced(1)
	if l.Full() {
		t.Error("full of what is written")
	}
}

// A log begins anywhere once it is empty, and nowhere else than behind its newest entry before.
func TestAGapIsRefused(t *testing.T) {
	l := logOf(1, 1)
	l.Synced(1)
	l.Add(9, 1)
	defer func() {
		if recover() == nil {
			t.Error("a gap is taken")
		}
	}()
	l.Add(11, 1)
}
