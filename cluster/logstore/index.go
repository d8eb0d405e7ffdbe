package logstore

import "fmt"

// place is where an entry is: in which segment, in the write that begins at which block, where in its stream. One without
// a size is in a segment that was not read.
type place struct{ segment, block, at, size uint32 }

// index has the places of the entries first to last, without a gap; none when last is 0.
type index struct {
	first, last uint64
	places      []place
	bytes       int64
}

func (x *index) empty() bool { return x.last == 0 }

// add adds an entry. What it does not follow is dropped, which is what raft means by a gap: the entries before it are in
// a snapshot.
func (x *index) add(number uint64, p place) {
	switch {
	case x.empty() || number == x.last+1:
	case number > x.first && number <= x.last:
		x.keep(x.first, number-1)
	default:
		x.keep(0, 0)
	}
	if x.empty() {
		x.first = number
	}
	x.last = number
	x.places = append(x.places, p)
	x.bytes += int64(p.size)
}

// keep drops all but the entries first to last, which must be among them.
func (x *index) keep(first, last uint64) {
	if last == 0 {
		*x = index{}
		return
	}
	from, to := first-x.first, last-x.first+1
	for _, dropped := range [...][]place{x.places[:from], x.places[to:]} {
		for _, p := range dropped {
			x.bytes -= int64(p.size)
		}
	}
	x.places = x.places[from:to]
	x.first, x.last = first, last
}

// begin is what a log held when its oldest segment was made. Where, was in older ones.
func (x *index) begin(first, last uint64) error {
	if last < first || last-first >= 1<<32 {
		return errRecord
	}
	*x = index{}
	if last != 0 {
		*x = index{first: first, last: last, places: make([]place, last-first+1)}
	}
	return nil
}

// narrow is keep of what a record says.
func (x *index) narrow(first, last uint64) error {
	if last != 0 && (last < first || first < x.first || last > x.last) {
		return fmt.Errorf("the entries %d to %d should be there, and %d to %d are", first, last, x.first, x.last)
	}
	x.keep(first, last)
	return nil
}

// complete says whether every entry's place is known.
func (x *index) complete() error {
	for i, p := range x.places {
		if p.size == 0 {
			return fmt.Errorf("entry %d is missing", x.first+uint64(i))
		}
	}
	return nil
}
