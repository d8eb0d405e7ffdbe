package fsm

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// fillFields sets every field of a message to something of its own.
func fillFields(m protoreflect.Message, n *int64) {
	fields := m.Descriptor().Fields()
	for at := range fields.Len() {
		f := fields.Get(at)
		*n++
		text := string(rune('a' + *n))
		switch {
		case f.IsMap():
			entries := m.Mutable(f).Map()
			entries.Set(protoreflect.ValueOfString("k").MapKey(), protoreflect.ValueOfString(text))
			entries.Set(protoreflect.ValueOfString("l").MapKey(), protoreflect.ValueOfString(""))
		case f.IsList():
			m.Mutable(f).List().Append(protoreflect.ValueOfString(text))
			m.Mutable(f).List().Append(protoreflect.ValueOfString(text + text))
		case f.Kind() == protoreflect.MessageKind:
			fillFields(m.Mutable(f).Message(), n)
		case f.Kind() == protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString(text))
		case f.Kind() == protoreflect.BytesKind:
			m.Set(f, protoreflect.ValueOfBytes([]byte(text)))
		case f.Kind() == protoreflect.BoolKind:
			m.Set(f, protoreflect.ValueOfBool(true))
		case f.Kind() == protoreflect.Int32Kind:
			m.Set(f, protoreflect.ValueOfInt32(int32(-*n)))
		case f.Kind() == protoreflect.Int64Kind:
			m.Set(f, protoreflect.ValueOfInt64(*n<<40))
		}
	}
}

func fullEvent() *v1.Event {
	e, n := &v1.Event{}, int64(0)
	fillFields(e.ProtoReflect(), &n)
	e.CorrelationId = e.Data.InstanceId
	return e
}

// An event is stored in its canonical encoding, so that must have every field: one that is added to the schema, and not to
// it, is missed here.
func TestAnEventSurvivesItsEncoding(t *testing.T) {
	full, bare := fullEvent(), &v1.Event{Position: 1, Data: &v1.EventData{}}
	first, position, rest, err := cutEvent(appendEvent(appendEvent(nil, full), bare))
	if err != nil || position != full.Position {
		t.Fatalf("the first event is at %d: %v", position, err)
	}
	for want, b := range map[*v1.Event][]byte{full: first, bare: rest} {
		if got, err := decodeEvent(b); err != nil || !proto.Equal(got, want) {
			t.Errorf("%v\nbecame\n%v, %v", want, got, err)
		}
	}
}

// What is cut short, or has a field that is none of an event's, is damage; nothing of it is served.
func TestADamagedEventIsRefused(t *testing.T) {
	whole := appendEvent(nil, fullEvent())
	for size := range len(whole) {
		if _, err := decodeEvent(whole[:size]); err == nil {
			t.Errorf("%d bytes of %d are an event", size, len(whole))
		}
		if _, _, _, err := cutEvent(whole[:size]); err == nil {
			t.Errorf("%d bytes of %d are cut off as an event", size, len(whole))
		}
	}
	if _, err := decodeEvent(append([]byte{99}, whole...)); err == nil {
		t.Error("a field of an unknown tag passes")
	}
}

// A state and a snapshot of another format are refused by name, not misread.
func TestAnotherFormatIsRefused(t *testing.T) {
	engine := table.NewMemory()
	b := &table.Batch{}
	b.Put([]byte{tableGroup}, encode(&logv1.Group{Index: 7, Level: 2}))
	must(engine.Write(b))
	if _, err := Open(engine); !errors.Is(err, ErrFormat) {
		t.Errorf("a state of the first format: %v", err)
	}
	if _, err := ReadSnapshot(bytes.NewReader([]byte("lockstep/snapshot/1\n")), table.NewMemory()); !errors.Is(err, ErrFormat) {
		t.Errorf("a snapshot of the first format: %v", err)
	}
}

// An instance's history is whole wherever flushes fell, and from any position.
func TestAHistoryOfManyFlushes(t *testing.T) {
	r := newRig(t)
	r.register("workflow: w\nsteps:\n  a: {queue: a}\n  b: {queue: b, needs: [a]}\n  c: {queue: c, needs: [b]}\n  d: {queue: d, needs: [c]}\n")
	worker := r.session(1000 * second)
	r.start("w", "i", `{}`)
	r.start("w", "j", `{}`)
	for n, step := range []string{"a", "b", "c", "d"} {
		for _, run := range r.poll(worker, step, 2) {
			r.complete(run, `{}`)
		}
		if n != 2 {
			must(r.m.Flush())
		}
	}
	whole, err := r.m.GetHistory(&v1.GetHistoryRequest{InstanceId: "i"})
	if err != nil || len(whole.Events) != 14 {
		t.Fatalf("%d events, %v", len(whole.GetEvents()), err)
	}
	for n, e := range whole.Events {
		if e.CorrelationId != "i" || n > 0 && e.Position <= whole.Events[n-1].Position {
			t.Fatalf("event %d is %v", n, e)
		}
		rest, err := r.m.GetHistory(&v1.GetHistoryRequest{InstanceId: "i", After: e.Position})
		if err != nil || len(rest.Events) != len(whole.Events)-n-1 {
			t.Fatalf("behind event %d of %d there are %d, %v", n, len(whole.Events), len(rest.GetEvents()), err)
		}
		page, err := r.m.GetHistory(&v1.GetHistoryRequest{InstanceId: "i", After: e.Position - 1, Limit: 1})
		if err != nil || len(page.Events) != 1 || !proto.Equal(page.Events[0], e) || (page.NextAfter == 0) != (n == len(whole.Events)-1) {
			t.Fatalf("a page of one from event %d is %v, %v", n, page, err)
		}
	}
}
