package fsm

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// walked is the engine of a machine behind a random walk: with rows of every table, some of the level before payloads had numbers.
func walked(t testing.TB, seed int64, entries int) table.Engine {
	w := newWalk(seed)
	engine := table.NewMemory()
	m, err := Open(engine)
	must(err)
	for n := range entries {
		w.index++
		e := w.entry()
		switch n {
		case 0:
			e = register(t)
		case entries / 2:
			e.Commands = append(e.Commands, &logv1.Command{Body: &logv1.Command_RaiseLevel{RaiseLevel: &logv1.RaiseLevel{Level: Level}}})
		}
		e.Header.Level = aheadLevel - 1
		w.learn(e, m.Apply(w.index, w.term, e))
	}
	must(m.Flush())
	return engine
}

// copied is another engine with the same rows, but for one that change makes of it; nil drops it.
func copied(t testing.TB, from table.Engine, change func(k, value []byte) ([]byte, bool)) table.Engine {
	into, b := table.NewMemory(), &table.Batch{}
	must(from.Scan(nil, nil, func(k, value []byte) bool {
		if next, keep := change(k, value); keep {
			b.Put(bytes.Clone(k), bytes.Clone(next))
		}
		return true
	}))
	must(into.Write(b))
	return into
}

// pass lets checkpoints pass in which nothing happens, and returns their digests.
func pass(t testing.TB, engine table.Engine, checkpoints int) (digests []string) {
	m, err := Open(engine)
	must(err)
	index, term := m.Applied()
	for range checkpoints {
		index += checkpointEvery
		m.Apply(index, term, &logv1.Entry{})
		c := m.Checkpoints()
		digests = append(digests, fmt.Sprintf("%x", c[len(c)-1].Digest))
	}
	return digests
}

// changes has what is done to the last row of each table: nothing that an event tells.
var changes = map[byte]func([]byte) []byte{
	tableNamespace: changed(func(m *logv1.Namespace) { m.Description += "!" }),
	tableSession:   changed(func(m *logv1.Session) { m.ExpireAt++ }),
	tableWorkflow:  changed(func(m *logv1.Workflow) { m.RegisteredWall++ }),
	tableInstance:  changed(func(m *logv1.Instance) { m.EndedWall++ }),
	tablePage:      changedRuns,
	tablePending:   changedPlace,
	tablePayload:   changed(func(m *v1.Payload) { m.Bytes = append(m.Bytes, ' ') }),
	tableNumbered:  changed(func(m *v1.Payload) { m.Bytes = append(m.Bytes, ' ') }),
	tableLock:      changed(func(m *logv1.Lock) { m.Token-- }),
	tableBlock:     changedEvent(func(e *v1.Event) { e.Traceparent += "!" }),
	tableHistory:   nil, // it is only keys: they are dropped
	tableSchedule:  changed(func(m *logv1.Schedule) { m.Skipped++ }),
	tableKey:       nil, // as these are
	tableOver:      nil,
	tableUse:       changed(func(m *logv1.VersionUse) { m.Live++ }),
	tableKept:      changed(func(m *logv1.Signal) { m.Name += "!" }),
	tableTold:      changed(func(m *logv1.SignalTold) { m.Reached++ }),
	tableHad:       func([]byte) []byte { return []byte{99} },
	tableCensus:    changed(func(m *logv1.Census) { m.Open++ }),
	tableFair:      func(tag []byte) []byte { return []byte{tag[0] ^ 1} },
	tableLimit:     func(log []byte) []byte { return append([]byte{log[0] ^ 1}, log[1:]...) },
	tableObserved:  changed(func(m *logv1.Observation) { m.Evidence += "!" }),
	tableDrift:     nil,
	tableOrphan:    nil,
	tableReporter:  changed(func(m *logv1.Reporter) { m.Error += "!" }),
	tableLate:      changed(func(m *logv1.LateResult) { m.Output = &v1.Payload{} }),
}

// changedRuns changes the last run of a page, and changedPlace what is pending of a page.
func changedRuns(page []byte) (out []byte) {
	for len(page) > 0 {
		r := blankRun()
		rest, err := cutRun(page, r)
		must(err)
		if page = rest; len(page) == 0 {
			r.Token++
		}
		out = appendRun(out, r)
	}
	return out
}

func changedPlace(value []byte) []byte {
	p, node, rest, err := cutPlace(value)
	must(err)
	p.skippedAt++
	return append(appendPlace(nil, node, p), rest...)
}

// changedEvent changes the last event of a block.
func changedEvent(fn func(*v1.Event)) func([]byte) []byte {
	return func(block []byte) (out []byte) {
		for rest := block; len(rest) > 0; {
			event, _, next, err := cutEvent(rest)
			must(err)
			if rest = next; len(rest) == 0 {
				e, err := decodeEvent(event)
				must(err)
				fn(e)
				event = appendEvent(nil, e)
			}
			out = append(out, event...)
		}
		return out
	}
}

func changed[M any, P interface {
	*M
	proto.Message
}](fn func(P)) func([]byte) []byte {
	return func(value []byte) []byte {
		m := P(new(M))
		must(proto.Unmarshal(value, m))
		fn(m)
		return encode(m)
	}
}

// flooded has runs of several keys wait, so that there are rows of turns, and others take slots, so that there are rows of limits;
// one waits by a key, so that there is one of a census, an observation is of no instance, and a lock is held.
func flooded(t *testing.T, engine table.Engine) table.Engine {
	m, err := Open(engine)
	must(err)
	index, term := m.Applied()
	e := &logv1.Entry{Commands: []*logv1.Command{registration(theWorkflows[11]), registration("workflow: waits\nsteps:\n  a: {await: {key: {k: never}}}\n")}} // the level was too low when the walk began
	for n := range 40 {
		e.Commands = append(e.Commands, startOf("w11", fmt.Sprint("flood", n), fmt.Sprintf(`{"k":%d}`, n%7)))
	}
	e.Commands = append(e.Commands, startOf("waits", "waits", `{}`), &logv1.Command{Body: &logv1.Command_OpenSession{OpenSession: &logv1.OpenSession{Ttl: 3600 * second}}})
	e.Commands = append(e.Commands, &logv1.Command{Body: &logv1.Command_ReportObservation{ReportObservation: &v1.ReportObservationRequest{
		InstanceId: "nobody", Step: "a", Reporter: "r", ObservationId: "o", State: sawRunning,
	}}})
	for _, c := range e.Commands {
		c.Envelope = &logv1.Envelope{}
	}
	opened := m.Apply(index+1, term, e).Outcomes[len(e.Commands)-2].Reply.(*v1.Session)
	m.Apply(index+2, term, &logv1.Entry{Commands: []*logv1.Command{{Envelope: &logv1.Envelope{}, Body: &logv1.Command_AcquireLock{
		AcquireLock: &logv1.AcquireLock{Session: sessionID(opened.SessionId), Lock: "held"},
	}}}})
	for n := range 40 {
		l := m.namespaces[DefaultNamespace].limit(fmt.Sprint("limit", n))
		m.adopt(l, &graph.Limit{Key: l.key, Limit: 3, Per: 1e15})
		l.take(m.group.Uptime)
		m.dirtyLimit(l)
		m.dueLimit(l)
	}
	m.Apply(index+3, term, &logv1.Entry{})
	must(m.Flush())
	return engine
}

// Replicas at one level have the same tables in a slice, whatever their versions know besides: how many there are at each is never changed.
func TestTablesAreSlicedFromALevelOn(t *testing.T) {
	for level, want := range map[uint32]int{2: 0, 3: 12, 8: 12, 9: 13, 10: 17, 12: 17, 13: 18, 15: 19, 16: 20, 18: 22, 20: 23, 21: 25, 25: 26, 26: 29} {
		if n := slicedAt(level); n != want {
			t.Errorf("%d tables are sliced at level %d; want %d", n, level, want)
		}
	}
	if !slices.IsSortedFunc(sliced[:], func(a, b struct {
		since uint32
		table byte
	}) int {
		return cmp.Compare(a.since, b.since)
	}) {
		t.Error("a table comes before one of an earlier level")
	}
}

// A row that differs on one replica, of which no event tells, changes its digest within the time that it takes to cover
// the row's table.
func TestARowThatDiffersIsFound(t *testing.T) {
	engine := flooded(t, walked(t, 3, 1500))
	for _, row := range sliced {
		tbl := row.table
		t.Run(string(tbl), func(t *testing.T) {
			var last []byte
			rows, size := 0, 0
			must(engine.Scan([]byte{tbl}, table.End([]byte{tbl}), func(k, value []byte) bool {
				last = bytes.Clone(k)
				size += len(k) + len(value)
				count := func(int64, []byte) bool { rows++; return true }
				switch tbl {
				case tableBlock:
					must((&cut{m: &Machine{}}).eventParts(k, value, count))
				case tableHistory:
					must(historyParts(k, value, count))
				default:
					rows++
				}
				return true
			}))
			if rows == 0 {
				t.Fatal("the walk made no row of this table")
			}
			cover := rows/sliceRows + 2*size/sliceBytes + 1
			want := pass(t, copied(t, engine, func(_, value []byte) ([]byte, bool) { return value, true }), cover)
			got := pass(t, copied(t, engine, func(k, value []byte) ([]byte, bool) {
				if !bytes.Equal(k, last) {
					return value, true
				}
				if changes[tbl] == nil {
					return nil, false
				}
				return changes[tbl](value), true
			}), cover)
			for at := range want {
				if got[at] != want[at] {
					t.Logf("found at checkpoint %d of %d that cover %d rows", at+1, cover, rows)
					return
				}
			}
			t.Fatalf("not found within %d checkpoints, which cover %d rows", cover, rows)
		})
	}
}

// What was changed in memory, and never marked to be written, is found too: resident records are what answers.
func TestAResidentRecordThatDiffersIsFound(t *testing.T) {
	engine := walked(t, 3, 300)
	m, err := Open(copied(t, engine, func(_, value []byte) ([]byte, bool) { return value, true }))
	must(err)
	ids := m.sessionsOf(m.namespaces[DefaultNamespace])
	m.sessions[ids[0]].rec.ExpireAt++
	index, term := m.Applied()
	m.Apply(index+checkpointEvery, term, &logv1.Entry{})
	_, got := m.Digest()
	if want := pass(t, engine, 1)[0]; fmt.Sprintf("%x", got) == want {
		t.Fatal("a session expires at another time, and the digest is the same")
	}
}

// A crash between the flush that a checkpoint makes and the next one changes nothing.
func TestACheckpointSurvivesACrash(t *testing.T) {
	engine := walked(t, 5, 400)
	same := func(_, value []byte) ([]byte, bool) { return value, true }
	want := pass(t, copied(t, engine, same), 12)
	m, err := Open(engine)
	must(err)
	index, term := m.Applied()
	start := index
	for n := range want {
		index += checkpointEvery
		m.Apply(index, term, &logv1.Entry{})
		if n%3 == 2 {
			m, err = Open(engine) // what was not flushed is lost, and applied again
			must(err)
			at, _ := m.Applied()
			if at >= index {
				t.Fatalf("entry %d was flushed with the checkpoint that it makes: its slice would be left out after a crash", at)
			}
			for at = max(at, start); at < index; {
				at += checkpointEvery
				m.Apply(at, term, &logv1.Entry{})
			}
		}
	}
	c := m.Checkpoints()
	for n, digest := range want {
		if got := fmt.Sprintf("%x", c[len(c)-len(want)+n].Digest); got != digest {
			t.Fatalf("checkpoint %d is %s, without crashes %s", n, got, digest)
		}
	}
}

// A namespace that is deleted takes its rows out of the slices, on one that flushed before and on one that did not.
func TestSlicesOfADeletedNamespace(t *testing.T) {
	run := func(flush func(*rig)) (all []string) {
		r := newRig(t)
		in := &logv1.Envelope{Namespace: "n"}
		create := &logv1.Command{Envelope: in, Body: &logv1.Command_CreateNamespace{CreateNamespace: &v1.CreateNamespaceRequest{Namespace: "n"}}}
		remove := &logv1.Command{Envelope: in, Body: &logv1.Command_DeleteNamespace{DeleteNamespace: &v1.DeleteNamespaceRequest{Namespace: "n", Force: true}}}
		open := &logv1.Command{Envelope: in, Body: &logv1.Command_OpenSession{OpenSession: &logv1.OpenSession{Ttl: 1000 * second}}}
		for n, cmd := range []*logv1.Command{create, open, create, remove, create, open, remove} {
			r.do(proto.Clone(cmd).(*logv1.Command))
			flush(r)
			if n != 3 { // made again before anybody looked
				r.index += checkpointEvery
			}
		}
		r.apply(&logv1.Entry{})
		for _, c := range r.m.Checkpoints() {
			all = append(all, fmt.Sprintf("%d %x", c.Index, c.Digest))
		}
		return all
	}
	want := run(func(*rig) {})
	flushed := run(func(r *rig) { must(r.m.Flush()) })
	reopened := run(func(r *rig) {
		must(r.m.Flush())
		var err error
		r.m, err = Open(r.engine)
		must(err)
	})
	if len(want) != 6 || !slices.Equal(want, flushed) || !slices.Equal(want, reopened) {
		t.Fatalf("the checkpoints are\n%v\nof one that flushed\n%v\nof one opened again\n%v", want, flushed, reopened)
	}
}

// A cluster of the level before slices goes on as it began, whichever binary a node has.
func TestAnOlderLevelHasNoSlices(t *testing.T) {
	m, err := Open(table.NewMemory())
	must(err)
	m.group.Level = sliceLevel - 1
	m.Apply(1, 1, register(t))
	_, before := m.Digest()
	m.Apply(checkpointEvery, 1, &logv1.Entry{})
	if _, after := m.Digest(); !bytes.Equal(before, after) {
		t.Fatal("an entry without events changed the digest")
	}
	if c := m.Checkpoints(); len(c) != 1 || c[0].Index != checkpointEvery || !bytes.Equal(c[0].Digest, before) {
		t.Fatalf("the checkpoints are %v", c)
	}
}

// The encoding of rows is part of the protocol between versions: it never changes.
func TestTheEncodingOfRows(t *testing.T) {
	s := &logv1.Session{
		Session: 7, Namespace: "default", Ttl: 10 * second, ExpireAt: -1, LowestUnanswered: 2, Author: &v1.Author{Principal: "p", Verified: true},
		Outcomes: []*logv1.Outcome{
			{RequestId: 2},
			{RequestId: 3, Type: "lockstep.v1.AcquireLockResponse", Reply: encode(&v1.AcquireLockResponse{Token: 9})},
			{RequestId: 4, Refusal: &v1.Refusal{Code: v1.Code_CODE_FENCED}},
		},
		Waits: []*logv1.Wait{{WaitId: 1 << 63, Queues: []string{"a", "b"}, Lock: &logv1.ClaimedLock{}}},
	}
	const want = "010e020764656661756c74038090dfc04a040107040803040000061f6c6f636b737465702e76312e416371756972654c6f636b526573706f6e7365" +
		"01120000080001012200000a0101808080808080808080010602016101620c00000c01017004010000"
	if got := fmt.Sprintf("%x", appendRow(nil, s)); got != want {
		t.Fatalf("a session is\n%s, it was\n%s", got, want)
	}
}

// Rows have nothing whose order or value is not the same everywhere, and their fields stand in the order of numbers.
func TestRowsHaveACanonicalForm(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	var look func(m protoreflect.MessageDescriptor)
	look = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] {
			return
		}
		seen[m.FullName()] = true
		fields := m.Fields()
		for i := range fields.Len() {
			field := fields.Get(i)
			switch {
			case field.IsMap():
				t.Errorf("%s is a map", field.FullName())
			case field.Kind() == protoreflect.FloatKind, field.Kind() == protoreflect.DoubleKind, field.Kind() == protoreflect.GroupKind:
				t.Errorf("%s is a %s", field.FullName(), field.Kind())
			case i > 0 && field.Number() < fields.Get(i-1).Number():
				t.Errorf("%s stands behind a higher number", field.FullName())
			case field.Kind() == protoreflect.MessageKind:
				look(field.Message())
			}
		}
	}
	for _, m := range []proto.Message{
		&logv1.Namespace{}, &logv1.Session{}, &logv1.Workflow{}, &logv1.Instance{}, &v1.Payload{}, &logv1.Lock{}, &logv1.LateResult{},
	} {
		look(m.ProtoReflect().Descriptor())
	}
}
