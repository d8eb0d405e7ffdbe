package api

import (
	"bytes"
	"encoding/json"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// maxPayload is the limit of one payload.
const maxPayload = 256 << 10

const jsonType = "application/json"

// payloadOf takes a request's data, which came as a JSON value or as bytes, and clears the value: the log has bytes.
func payloadOf(field string, value **structpb.Value, payload **v1.Payload) error {
	if *value != nil && *payload != nil {
		return invalid("give %s or %sPayload, not both", field, field)
	}
	if *value != nil {
		b, err := canonical((*value).AsInterface())
		if err != nil {
			return invalid("%s cannot be written as JSON: %v", field, err)
		}
		*payload, *value = &v1.Payload{Bytes: b}, nil
	}
	if p := *payload; p != nil {
		if len(p.Bytes) > maxPayload {
			return fsm.Refuse(v1.Code_CODE_PAYLOAD_TOO_LARGE, "%s has %d bytes, the limit is %d; keep it elsewhere and send where", field, len(p.Bytes), maxPayload)
		}
		if isJSON(p) && len(p.Bytes) > 0 {
			if !json.Valid(p.Bytes) {
				return invalid("%sPayload says it is JSON and is not", field)
			}
		}
	}
	return nil
}

// canonical writes a JSON value the same way each time: keys in order, whole numbers as integers.
func canonical(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(integers(v))
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// integers has whole numbers written without exponent or fraction, for a JSON value carries doubles.
func integers(v any) any {
	switch v := v.(type) {
	case float64:
		if v == float64(int64(v)) && v > -1<<53 && v < 1<<53 {
			return int64(v)
		}
	case []any:
		for i := range v {
			v[i] = integers(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = integers(v[key])
		}
	}
	return v
}

func isJSON(p *v1.Payload) bool {
	return p.KeyId == "" && (p.ContentType == "" || p.ContentType == jsonType)
}

// valueOf has a reply show JSON as JSON: natural in curl. Other bytes stay in the payload field.
func valueOf(value **structpb.Value, payload **v1.Payload) {
	p := *payload
	if p == nil || !isJSON(p) || len(p.Bytes) == 0 {
		return
	}
	v := &structpb.Value{}
	if v.UnmarshalJSON(p.Bytes) == nil {
		*value, *payload = v, nil
	}
}

func showRuns(runs []*v1.LeasedRun) {
	for _, r := range runs {
		valueOf(&r.Input, &r.InputPayload)
	}
}

// showInstance works on a copy of the state's own messages: heads and runs are made for each reply.
func showInstance(i *v1.Instance) *v1.Instance {
	valueOf(&i.Input, &i.InputPayload)
	valueOf(&i.Output, &i.OutputPayload)
	for _, r := range i.Runs {
		valueOf(&r.Output, &r.OutputPayload)
	}
	return i
}
