package sim

import (
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Every field of an event and of a renewal's answer changes its sum, also one that is added some day.
func TestEveryFieldCounts(t *testing.T) {
	h := &history{}
	fields(t, &v1.Event{}, func(m protoreflect.Message) uint64 { return eventSum(m.Interface().(*v1.Event)) })
	fields(t, &v1.KeepAliveResponse{}, func(m protoreflect.Message) uint64 { return h.sum(m.Interface(), nil) })
	fields(t, &v1.PollStepsResponse{}, func(m protoreflect.Message) uint64 { return h.sum(m.Interface(), nil) })
	fields(t, &v1.Refusal{}, func(m protoreflect.Message) uint64 { return h.sum(nil, m.Interface().(*v1.Refusal)) })
}

// fields sets each field of a message, and of the messages in it, by itself.
func fields(t *testing.T, root interface{ ProtoReflect() protoreflect.Message }, sum func(protoreflect.Message) uint64) {
	t.Helper()
	seen := map[uint64]string{sum(root.ProtoReflect().New()): "nothing"}
	var visit func(name string, at func(protoreflect.Message) protoreflect.Message, depth int)
	visit = func(name string, at func(protoreflect.Message) protoreflect.Message, depth int) {
		list := at(root.ProtoReflect().New()).Descriptor().Fields()
		for i := range list.Len() {
			f := list.Get(i)
			if f.Message() != nil && !f.IsList() && !f.IsMap() && depth < 2 && f.Message().FullName().Parent() != "google.protobuf" {
				inner := func(m protoreflect.Message) protoreflect.Message { return at(m).Mutable(f).Message() }
				m := root.ProtoReflect().New()
				inner(m)
				seen[sum(m)] = name + "." + string(f.Name()) + " without anything in it"
				visit(name+"."+string(f.Name()), inner, depth+1)
				continue
			}
			m := root.ProtoReflect().New()
			set(at(m), f)
			s := sum(m)
			if other, there := seen[s]; there {
				t.Errorf("%s.%s counts as much as %s", name, f.Name(), other)
			}
			seen[s] = name + "." + string(f.Name())
		}
	}
	visit(string(root.ProtoReflect().Descriptor().Name()), func(m protoreflect.Message) protoreflect.Message { return m }, 0)
}

// set gives a field a value that is not the zero one.
func set(m protoreflect.Message, f protoreflect.FieldDescriptor) {
	switch {
	case f.IsMap():
		m.Mutable(f).Map().Set(protoreflect.ValueOfString("k").MapKey(), protoreflect.ValueOfString("v"))
	case f.IsList() && f.Message() != nil:
		m.Mutable(f).List().AppendMutable()
	case f.IsList():
		m.Mutable(f).List().Append(scalar(f))
	case f.Message() != nil:
		inner := m.Mutable(f).Message()
		if fields := inner.Descriptor().Fields(); fields.Len() > 0 {
			set(inner, fields.Get(fields.Len()-1))
		}
	default:
		m.Set(f, scalar(f))
	}
}

func scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("x")
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("x"))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind:
		return protoreflect.ValueOfInt32(1)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(1)
	}
	return protoreflect.ValueOfInt64(1)
}
