package fsm

import (
	"encoding/binary"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// unknownFields is the tag of what this binary does not know of a row: nothing, while the cluster's level is kept to.
const unknownFields = 1 << 29

// appendRow adds the canonical encoding of a row: what slices of the state are made of. It is our own, as that of
// events is, so that no library's change of encoding can make replicas disagree: each field that is set, as number and
// value, in the order of the schema, and a zero. A row has no map and no float; a test keeps it so, and those of a reply
// that a row remembers are the API's to fill.
func appendRow(b []byte, m proto.Message) []byte {
	return appendMessage(b, m.ProtoReflect())
}

func appendMessage(b []byte, m protoreflect.Message) []byte {
	if o, ok := m.Interface().(*logv1.Outcome); ok {
		return appendOutcome(b, o)
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if field.IsMap() || !m.Has(field) {
			continue
		}
		b = binary.AppendUvarint(b, uint64(field.Number()))
		value := m.Get(field)
		if !field.IsList() {
			b = appendValue(b, field.Kind(), value)
			continue
		}
		list := value.List()
		b = binary.AppendUvarint(b, uint64(list.Len()))
		for n := range list.Len() {
			b = appendValue(b, field.Kind(), list.Get(n))
		}
	}
	if unknown := m.GetUnknown(); len(unknown) > 0 {
		b = appendBytes(binary.AppendUvarint(b, unknownFields), unknown)
	}
	return append(b, 0)
}

func appendValue(b []byte, kind protoreflect.Kind, v protoreflect.Value) []byte {
	switch kind {
	case protoreflect.MessageKind:
		return appendMessage(b, v.Message())
	case protoreflect.StringKind:
		return appendBytes(b, []byte(v.String()))
	case protoreflect.BytesKind:
		return appendBytes(b, v.Bytes())
	case protoreflect.BoolKind:
		if v.Bool() {
			return append(b, 1)
		}
		return append(b, 0)
	case protoreflect.EnumKind:
		return binary.AppendVarint(b, int64(v.Enum()))
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		return binary.AppendUvarint(b, v.Uint())
	case protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Sint32Kind, protoreflect.Sint64Kind,
		protoreflect.Sfixed32Kind, protoreflect.Sfixed64Kind:
		return binary.AppendVarint(b, v.Int())
	}
	return b // floats, which no row has
}

func appendBytes(b, value []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(value))), value...)
}

// appendOutcome adds a remembered answer: not the bytes of its reply, which are the library's, but what they say.
func appendOutcome(b []byte, o *logv1.Outcome) []byte {
	b = binary.AppendVarint(b, o.RequestId)
	b = appendBytes(b, []byte(o.Type))
	if reply := decodeReply(o); reply != nil {
		b = appendRow(b, reply)
	}
	if o.Refusal != nil {
		b = appendRow(append(b, 1), o.Refusal)
	}
	return append(b, 0)
}
