package fsm

import (
	"encoding/binary"

	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// appendEvent adds the canonical encoding of an event: what the digest is made of, and what is stored. It is our own, so that
// no library's change of encoding can make replicas disagree: each field that is set, as tag and value, in order, and a
// zero. The correlation id is the instance's, and not in it.
func appendEvent(b []byte, e *v1.Event) []byte {
	b = appendText(b, 1, e.Namespace)
	b = appendNumber(b, 2, e.Position)
	b = appendText(b, 3, e.Type)
	b = appendNumber(b, 4, e.Time.GetSeconds())
	b = appendNumber(b, 5, int64(e.Time.GetNanos()))
	b = appendText(b, 6, e.Subject)
	b = appendText(b, 7, e.CausationId)
	b = appendText(b, 8, e.Traceparent)
	b = appendText(b, 9, e.Author.GetPrincipal())
	b = appendText(b, 10, e.Author.GetKind())
	b = appendText(b, 11, e.Author.GetOnBehalfOf())
	b = appendFlag(b, 12, e.Author.GetVerified())
	return appendData(b, e.Data)
}

func appendData(b []byte, d *v1.EventData) []byte {
	b = appendText(b, 20, d.InstanceId)
	b = appendText(b, 21, d.Workflow)
	b = appendNumber(b, 22, int64(d.Version))
	b = appendText(b, 23, d.Step)
	b = appendNumber(b, 24, int64(d.Index))
	b = appendNumber(b, 25, int64(d.Attempt))
	b = appendNumber(b, 26, d.Token)
	b = appendText(b, 27, d.SessionId)
	b = appendText(b, 28, d.Queue)
	b = appendText(b, 29, d.Lock)
	b = appendText(b, 30, d.Code)
	b = appendText(b, 31, d.Reason)
	b = appendText(b, 32, d.Name)
	b = appendText(b, 33, string(d.PayloadDigest))
	b = appendNumber(b, 34, d.PayloadSize)
	for _, label := range sortedPairs(d.Labels) {
		b = appendText(b, 35, label.Key)
		b = appendText(b, 36, label.Value)
	}
	b = appendNumber(b, 37, d.Delay)
	b = appendNumber(b, 38, int64(d.Used))
	b = appendNumber(b, 39, int64(d.Take))
	b = appendNumber(b, 40, int64(d.Slot))
	b = appendFlag(b, 41, d.Shared)
	b = appendFlag(b, 42, d.Late)
	b = appendNumber(b, 43, d.Due.GetSeconds())
	b = appendNumber(b, 44, int64(d.Due.GetNanos()))
	b = appendNumber(b, 45, d.Lag)
	b = appendText(b, 46, d.OtherInstance)
	b = appendText(b, 47, d.OtherStep)
	b = appendNumber(b, 48, int64(d.OtherIndex))
	b = appendNumber(b, 49, int64(d.Count))
	b = appendText(b, 50, d.KeyName)
	b = appendText(b, 51, d.KeyValue)
	b = appendText(b, 52, d.FairnessKey)
	b = appendText(b, 53, d.LimitKey)
	b = appendNumber(b, 54, int64(d.Limit))
	b = appendNumber(b, 55, d.Per)
	b = appendText(b, 56, d.ForkedFrom)
	for _, id := range d.Instances {
		b = appendText(b, 60, id)
	}
	b = appendText(b, 67, d.Bulk)
	b = appendNumber(b, 68, d.Changed)
	b = appendNumber(b, 69, d.Refused)
	b = appendNumber(b, 70, d.Removed)
	b = appendNumber(b, 71, d.Through)
	b = appendText(b, 72, d.Retention)
	b = appendText(b, 75, d.Reporter)
	b = appendText(b, 76, d.Observation)
	b = appendText(b, 77, d.Observed)
	b = appendText(b, 78, d.Drift)
	b = appendText(b, 79, d.Plan)
	return append(b, 0)
}

func appendText(b []byte, tag byte, s string) []byte {
	if s == "" {
		return b
	}
	return append(binary.AppendUvarint(append(b, tag), uint64(len(s))), s...)
}

func appendNumber(b []byte, tag byte, v int64) []byte {
	if v == 0 {
		return b
	}
	return binary.AppendVarint(append(b, tag), v)
}

func appendFlag(b []byte, tag byte, v bool) []byte {
	if !v {
		return b
	}
	return append(b, tag)
}

// field is one of an encoded record: a number, a text, or a flag that is set. The one with tag zero ends the record.
type field struct {
	tag    byte
	number int64
	text   []byte
}

// cutField takes a field off. kind says what a tag's value is.
func cutField(b []byte, kind func(tag byte) fieldKind) (f field, rest []byte, ok bool) {
	if len(b) == 0 {
		return f, nil, false
	}
	f.tag, b = b[0], b[1:]
	if f.tag == 0 {
		return f, b, true
	}
	switch kind(f.tag) {
	case fieldFlag:
		f.number = 1
		return f, b, true
	case fieldNumber:
		v, n := binary.Varint(b)
		if n <= 0 {
			return f, nil, false
		}
		f.number = v
		return f, b[n:], true
	case fieldText:
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return f, nil, false
		}
		f.text = b[n : n+int(size)]
		return f, b[n+int(size):], true
	}
	return f, nil, false
}

type fieldKind uint8

const (
	fieldUnknown fieldKind = iota
	fieldNumber
	fieldText
	fieldFlag
)

func eventField(tag byte) fieldKind {
	switch tag {
	case 2, 4, 5, 22, 24, 25, 26, 34, 37, 38, 39, 40, 43, 44, 45, 48, 49, 54, 55, 68, 69, 70, 71:
		return fieldNumber
	case 12, 41, 42:
		return fieldFlag
	case 1, 3, 6, 7, 8, 9, 10, 11, 20, 21, 23, 27, 28, 29, 30, 31, 32, 33, 35, 36, 46, 47, 50, 51, 52, 53, 56, 60, 67, 72, 75, 76, 77, 78, 79:
		return fieldText
	}
	return fieldUnknown
}

// cutEvent takes an event off consecutive ones, and says which it is.
func cutEvent(b []byte) (event []byte, position int64, rest []byte, err error) {
	for rest = b; ; {
		f, next, ok := cutField(rest, eventField)
		if !ok {
			return nil, 0, nil, damagedEvent(b)
		}
		rest = next
		switch f.tag {
		case 2:
			position = f.number
		case 0:
			return b[:len(b)-len(rest)], position, rest, nil
		}
	}
}

// decodeEvent reads one event. Its texts share one piece of memory, which has all of the event and nothing else.
func decodeEvent(b []byte) (*v1.Event, error) {
	made := &fact{}
	e := &made.event
	e.Data = &made.data
	whole := string(b)
	label := "" // whose value comes next, unless it is empty
	for rest := b; ; {
		f, next, ok := cutField(rest, eventField)
		if !ok {
			return nil, damagedEvent(b)
		}
		if rest = next; f.tag == 0 {
			e.CorrelationId = e.Data.InstanceId
			return e, nil
		}
		end := len(b) - len(rest)
		text := whole[end-len(f.text) : end] // a text is the end of its field
		switch {
		case f.tag < 20:
			setEvent(e, f, text)
		case f.tag == 35:
			label = text
			setLabel(e.Data, label, "")
		case f.tag == 36:
			setLabel(e.Data, label, text)
		default:
			setData(e.Data, f, text)
		}
	}
}

func setEvent(e *v1.Event, f field, text string) {
	switch f.tag {
	case 1:
		e.Namespace = text
	case 2:
		e.Position = f.number
	case 3:
		e.Type = text
	case 4:
		e.Time = &timestamppb.Timestamp{Seconds: f.number}
	case 5:
		if e.Time == nil {
			e.Time = &timestamppb.Timestamp{}
		}
		e.Time.Nanos = int32(f.number)
	case 6:
		e.Subject = text
	case 7:
		e.CausationId = text
	case 8:
		e.Traceparent = text
	default:
		setAuthor(e, f, text)
	}
}

func setAuthor(e *v1.Event, f field, text string) {
	if e.Author == nil {
		e.Author = &v1.Author{}
	}
	switch f.tag {
	case 9:
		e.Author.Principal = text
	case 10:
		e.Author.Kind = text
	case 11:
		e.Author.OnBehalfOf = text
	case 12:
		e.Author.Verified = true
	}
}

func setData(d *v1.EventData, f field, text string) {
	switch f.tag {
	case 20:
		d.InstanceId = text
	case 21:
		d.Workflow = text
	case 23:
		d.Step = text
	case 27:
		d.SessionId = text
	case 28:
		d.Queue = text
	case 29:
		d.Lock = text
	case 30:
		d.Code = text
	case 31:
		d.Reason = text
	case 32:
		d.Name = text
	case 46:
		d.OtherInstance = text
	case 47:
		d.OtherStep = text
	case 50:
		d.KeyName = text
	case 51:
		d.KeyValue = text
	case 52:
		d.FairnessKey = text
	case 60:
		d.Instances = append(d.Instances, text)
	case 53:
		d.LimitKey = text
	case 54:
		d.Limit = int32(f.number)
	case 55:
		d.Per = f.number
	case 56:
		d.ForkedFrom = text
	case 67:
		d.Bulk = text
	case 72:
		d.Retention = text
	case 33:
		d.PayloadDigest = append([]byte(nil), f.text...)
	default:
		if f.tag >= 75 {
			setObserved(d, f.tag, text)
			return
		}
		setNumber(d, f)
	}
}

func setObserved(d *v1.EventData, tag byte, text string) {
	switch tag {
	case 75:
		d.Reporter = text
	case 76:
		d.Observation = text
	case 77:
		d.Observed = text
	case 78:
		d.Drift = text
	case 79:
		d.Plan = text
	}
}

func setLabel(d *v1.EventData, key, value string) {
	if d.Labels == nil {
		d.Labels = map[string]string{}
	}
	d.Labels[key] = value
}

func setNumber(d *v1.EventData, f field) {
	switch n := f.number; f.tag {
	case 68:
		d.Changed = n
	case 69:
		d.Refused = n
	case 70:
		d.Removed = n
	case 71:
		d.Through = n
	case 22:
		d.Version = int32(n)
	case 24:
		d.Index = int32(n)
	case 25:
		d.Attempt = int32(n)
	case 26:
		d.Token = n
	case 34:
		d.PayloadSize = n
	case 37:
		d.Delay = n
	case 38:
		d.Used = int32(n)
	case 39:
		d.Take = int32(n)
	case 40:
		d.Slot = int32(n)
	case 41:
		d.Shared = true
	case 42:
		d.Late = true
	case 48:
		d.OtherIndex = int32(n)
	default:
		setDue(d, f)
	}
}

func setDue(d *v1.EventData, f field) {
	switch f.tag {
	case 45:
		d.Lag = f.number
		return
	case 49:
		d.Count = int32(f.number)
		return
	}
	if d.Due == nil {
		d.Due = &timestamppb.Timestamp{}
	}
	if f.tag == 43 {
		d.Due.Seconds = f.number
	} else {
		d.Due.Nanos = int32(f.number)
	}
}
