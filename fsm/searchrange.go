package fsm

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lockstep-dev/lockstep/fsm/table"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// listOrder is in which order a list is. It begins the cursors of such a list.
type listOrder byte

const (
	newFirst listOrder = 'n' // by when starts were accepted
	oldFirst listOrder = 'o'
	endNew   listOrder = 'e' // by ends
	endOld   listOrder = 'f'
	quietest listOrder = 'q'
	byID     listOrder = 'i' // while not all is in the index
)

// spot is a place in an order.
type spot struct {
	at int64
	id string
}

// cursor is how a list goes on behind a spot.
func (o listOrder) cursor(s *spot) string { return fmt.Sprintf("%c:%d:%s", o, s.at, s.id) }

// orderOf is the order that a list is asked for in.
func (f *filter) orderOf(asked v1.ListOrder) listOrder {
	old := asked == v1.ListOrder_LIST_ORDER_OLDEST
	switch {
	case f.stuck:
		return quietest
	case f.endedFrom+f.endedTo > 0 && old:
		return endOld
	case f.endedFrom+f.endedTo > 0:
		return endNew
	case old:
		return oldFirst
	}
	return newFirst
}

// resume finds in which order a page is, and behind what. One that began while not all was in the index ends so.
func (s *query) resume(r *v1.ListInstancesRequest, indexing bool) *Refusal {
	if s.order = s.orderOf(r.Order); r.Page == "" {
		if indexing {
			s.order = byID
		}
		return nil
	}
	of, rest, _ := strings.Cut(r.Page, ":")
	at, id, is := strings.Cut(rest, ":")
	number, err := strconv.ParseInt(at, 10, 64)
	if !is || err != nil || len(of) != 1 || number < 0 {
		return Refuse(v1.Code_CODE_INVALID, "the page %q is none that a list of instances has said", r.Page)
	}
	switch o := listOrder(of[0]); {
	case o == byID && r.Order == 0:
		s.order = byID
	case o != s.order:
		return Refuse(v1.Code_CODE_INVALID, "the page %q is that of a list in another order: ask for it with what its first page was asked for", r.Page)
	case indexing:
		return Refuse(v1.Code_CODE_INDEX_NOT_READY, "the page %q is that of a list by the index, which is being built anew; begin again without a page", r.Page)
	}
	s.from = &spot{number, id}
	return nil
}

// strand is a range of the index, read bit by bit in the order of the list.
type strand struct {
	in     table.Reader
	lo, hi []byte
	prefix int // of a key, before its time
	back   bool
	bit    int // how many rows are read at once
	spots  []spot
	ended  bool
}

// fill has the next spot at hand, if there is one.
func (s *strand) fill() error {
	if len(s.spots) > 0 || s.ended {
		return nil
	}
	scan, read := s.in.Scan, 0
	if s.back {
		scan = s.in.ScanBack
	}
	var last []byte
	err := scan(s.lo, s.hi, func(k, _ []byte) bool {
		at, rest, _ := table.CutUint64(k[s.prefix:])
		id, _, _ := table.CutString(rest)
		s.spots = append(s.spots, spot{int64(at), id})
		if read++; read < s.bit {
			return true
		}
		last = slices.Clone(k)
		return false
	})
	switch {
	case last == nil:
		s.ended = true
	case s.back:
		s.hi = last
	default:
		s.lo = append(last, 0)
	}
	s.bit = min(4*s.bit, searched)
	return err
}

// strands are ranges that are read as one.
type strands []*strand

// next takes the first spot of all; none at the end.
func (in strands) next() (*spot, error) {
	var first *strand
	for _, s := range in {
		if err := s.fill(); err != nil {
			return nil, err
		}
		if len(s.spots) > 0 && (first == nil || s.spots[0].before(first.spots[0]) != s.back) {
			first = s
		}
	}
	if first == nil {
		return nil, nil
	}
	next := first.spots[0]
	first.spots = first.spots[1:]
	return &next, nil
}

func (s spot) before(o spot) bool { return s.at < o.at || s.at == o.at && s.id < o.id }

// count counts spots up to a number, and leaves them there.
func (in strands) count(most int) (n int, err error) {
	for _, s := range in {
		if err := s.fill(); err != nil {
			return 0, err
		}
		if n += len(s.spots); !s.ended || n >= most {
			return most, nil
		}
	}
	return n, nil
}

// fewest finds the ranges to read: those of the filter that has the fewest rows, as far as a look at some tells.
func (s *query) fewest() (strands, error) {
	switch s.order {
	case quietest:
		if s.quietSince < 0 {
			return nil, nil
		}
		return strands{s.strand(indexKey(nil, s.ns.rec.Namespace, findQuiet), 0, s.quietSince+1, searched)}, nil
	case endNew, endOld:
		return s.ranges(findEnd, s.endedFrom, s.endedTo), nil
	}
	var all []strands
	each := func(by byte, values ...string) {
		all = append(all, s.ranges(by, s.startedFrom, s.startedTo, values...))
	}
	for _, p := range s.keys {
		each(findKey, p.Key, p.Value)
	}
	for _, p := range s.labels {
		each(findLabel, p.Key, p.Value)
	}
	switch {
	case s.version > 0:
		each(findVersion, s.workflow, ofVersion(s.version))
	case s.workflow != "":
		each(findWorkflow, s.workflow)
	case len(all) == 0:
		each(findState)
	}
	best, fewest := all[0], probed
	for _, in := range all {
		if len(all) == 1 {
			break
		}
		n, err := in.count(probed)
		if err != nil {
			return nil, err
		}
		if n < fewest {
			best, fewest = in, n
		}
	}
	return best, nil
}

// ranges are those of a filter, one for each state that can be.
func (s *query) ranges(by byte, from, to int64, values ...string) (out strands) {
	for state := v1.InstanceState_INSTANCE_STATE_RUNNING; int(state) < len(v1.InstanceState_name); state++ {
		if s.state != 0 && s.state != state || by == findEnd && Live(state) {
			continue
		}
		prefix := append(indexKey(nil, s.ns.rec.Namespace, by, values...), byte(state))
		out = append(out, s.strand(prefix, from, to, probed))
	}
	return out
}

// strand is the part of a range from one time to another, or to the end if that is zero, behind the page before.
func (s *query) strand(prefix []byte, from, to int64, bit int) *strand {
	k := func(at int64) []byte { return table.AppendUint64(slices.Clone(prefix), uint64(at)) }
	out := &strand{in: s.in, lo: k(from), hi: table.End(prefix), prefix: len(prefix), back: s.order == newFirst || s.order == endNew, bit: bit}
	if to > 0 {
		out.hi = k(to)
	}
	if s.from == nil {
		return out
	}
	switch last := table.AppendString(k(s.from.at), s.from.id); {
	case out.back && slices.Compare(last, out.hi) < 0:
		out.hi = last
	case !out.back && slices.Compare(last, out.lo) >= 0:
		out.lo = append(last, 0)
	}
	return out
}
