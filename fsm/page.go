package fsm

import (
	"errors"
	"slices"

	"github.com/lockstep-dev/lockstep/fsm/table"
)

// The runs of a frame are written in pages, and what is pending of a page has a row beside it. Behind the instance's id the
// keys of what is in a frame have the frame's name, which is its scope and index in one number, and then their own number: a
// page's, or a payload's. The root has no name there. Numbers are below every name, so its rows come first, and the rows of a
// frame stand together. The first page of a frame other than the root begins with what the frame is: whose, and in which place.

// pageRuns is how many runs of a frame are written together.
const pageRuns = 64

// appendRowNumber adds what the key of a page or a payload has behind the instance's id.
func (f *frame) appendRowNumber(k []byte, number uint64) []byte {
	if f.scope != 0 || f.index != 0 {
		k = table.AppendUint64(k, uint64(rowScope(f.scope))<<32|uint64(f.index))
	}
	return table.AppendUint64(k, number)
}

// rowScope is a scope as the names of rows have it: the frames of the workflow that are not the root are behind all others.
func rowScope(scope int32) uint32 {
	if scope == 0 {
		return 1 << 31
	}
	return uint32(scope)
}

// cutRowNumber reads what appendRowNumber added.
func cutRowNumber(k []byte) (scope, index int32, number uint64, ok bool) {
	number, rest, ok := table.CutUint64(k)
	if name := number; ok && name>>32 != 0 {
		switch index = int32(name); {
		case name>>32 != uint64(rowScope(0)):
			scope = int32(name >> 32)
		case index == 0:
			return 0, 0, 0, false // the root has no name
		}
		number, rest, ok = table.CutUint64(rest)
	}
	return scope, index, number, ok && len(rest) == 0
}

// pageAt finds a page that is in memory; no frame when it is not, or the instance is not.
func (i *instance) pageAt(k []byte) (f *frame, page int) {
	scope, index, number, ok := cutRowNumber(k)
	if !ok || i == nil {
		return nil, 0
	}
	if f = i.activation(scope, index); f == nil || number >= uint64(len(f.pages)) {
		return nil, 0
	}
	return f, int(number)
}

// page returns the runs that are written together.
func (f *frame) page(p int) []*run {
	return f.runs[p*pageRuns : min((p+1)*pageRuns, len(f.runs))]
}

func (f *frame) appendPage(b []byte, p int) []byte {
	if f.scope != 0 && p == 0 {
		b = f.appendHead(b)
	}
	for _, r := range f.page(p) {
		b = appendRun(b, r)
	}
	return b
}

func (i *instance) appendPending(b []byte, f *frame, p int) []byte {
	if at := i.limit(); f == &i.root && p == 0 && (at > 0 || i.rec.Todo > 0) {
		b = appendPlace(b, whole.node, place{due: at, todo: i.rec.Todo})
	}
	for n, r := range f.page(p) {
		if pending(r) {
			at := f.at(p*pageRuns + n)
			b = appendPlace(b, at.node, i.place(at))
		}
	}
	return b
}

// flushPending writes what is pending of the pages that are dirty.
func (m *Machine) flushPending(b *table.Batch, i *instance) {
	for f := range i.frames() {
		for p, dirty := range f.pages {
			if dirty {
				m.flushPendingOf(b, i, f, p)
			}
		}
	}
}

func (m *Machine) flushPendingOf(b *table.Batch, i *instance, f *frame, p int) {
	m.scratch = i.appendPending(m.scratch[:0], f, p)
	stored := f.stored[p]
	if f.stored[p] = len(m.scratch) > 0; !stored && !f.stored[p] {
		return
	}
	k := f.appendRowNumber(m.room.key(tablePending, i.ns.rec.Namespace, i.rec.InstanceId), uint64(p))
	if f.stored[p] {
		b.Put(k, m.room.copy(m.scratch))
	} else {
		b.Delete(k)
	}
}

// flushPages writes the pages that are dirty. It is the last of what is written of an instance.
func (m *Machine) flushPages(b *table.Batch, i *instance) {
	for f := range i.frames() {
		for p, dirty := range f.pages {
			if !dirty {
				continue
			}
			f.pages[p] = false
			m.scratch = f.appendPage(m.scratch[:0], p)
			b.Put(f.appendRowNumber(m.room.key(tablePage, i.ns.rec.Namespace, i.rec.InstanceId), uint64(p)), m.room.copy(m.scratch))
		}
	}
}

// appendHead adds what a frame is, as runs are encoded.
func (f *frame) appendHead(b []byte) []byte {
	b = appendNumber(b, 1, int64(f.owner.node))
	b = appendNumber(b, 3, int64(f.owner.index))
	b = appendNumber(b, 4, int64(f.place))
	b = appendNumber(b, 19, int64(f.has))
	b = appendNumber(b, 25, f.number[roleOutput])
	b = appendFlag(b, 30, f.over)
	return append(b, 0)
}

func (f *frame) cutHead(b []byte) (rest []byte, err error) {
	f.owner = at{}
	return cutRecord(b, func(field field) bool {
		switch n := field.number; field.tag {
		case 1:
			f.owner.node = int32(n)
		case 3:
			f.owner.index = int32(n)
		case 4:
			f.place = int32(n)
		case 19:
			f.has = uint8(n)
		case 25:
			f.number[roleOutput] = n
		case 30:
			f.over = true
		default:
			return false
		}
		return true
	})
}

// readFrames decodes the frames of an instance, and their runs, from their pages.
func (i *instance) readFrames(r table.Reader) error {
	of := key(tablePage, i.ns.rec.Namespace, i.rec.InstanceId)
	to := table.End(of)
	if len(i.graph.Scopes) == 1 && i.rec.Resets == 0 {
		to = i.root.appendRowNumber(slices.Clip(of), uint64(len(i.root.pages)))
	}
	var failed error
	n := 0 // runs of the frame at hand
	f := &i.root
	err := r.Scan(of, to, func(k, page []byte) bool {
		scope, index, number, ok := cutRowNumber(k[len(of):])
		if !ok || int(scope) >= len(i.graph.Scopes) {
			failed = errors.New("instance " + i.rec.InstanceId + " has a page of no frame")
			return false
		}
		if scope != f.scope || index != f.index {
			if failed = i.whole(f, n); failed != nil {
				return false
			}
			made := newFrame(i.graph, scope, index)
			f, n = &made, 0
			i.bodies = append(i.bodies, f)
		}
		if number == 0 && scope != 0 {
			page, failed = f.cutHead(page)
		}
		for ; len(page) > 0 && failed == nil && n < len(f.runs); n++ {
			page, failed = cutRun(page, f.runs[n])
		}
		return failed == nil
	})
	if err := errors.Join(err, failed, i.whole(f, n)); err != nil {
		return err
	}
	for _, f := range i.bodies {
		if i.within += len(f.runs); f.outermost() {
			i.supersedes(f)
			continue
		}
		i.run(f.owner).adopt(f)
	}
	for f := range i.frames() {
		for n, r := range f.runs {
			i.count(f, tally{}, r.tally())
			if pending(r) {
				f.stored[n/pageRuns] = true
			}
		}
	}
	if i.limit() > 0 || i.rec.Todo > 0 {
		i.root.stored[0] = true
	}
	i.findLeaving()
	return nil
}

// whole says that all runs of a frame were read.
func (i *instance) whole(f *frame, read int) error {
	if read != len(f.runs) {
		return errors.New("instance " + i.rec.InstanceId + " lacks runs")
	}
	return nil
}
