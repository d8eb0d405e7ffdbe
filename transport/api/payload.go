package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"

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
		if !finite(*value) {
			return invalid("%s has a number that is none: JSON knows no infinity", field)
		}
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
		if isJSON(p) && len(p.Bytes) > 0 && !json.Valid(p.Bytes) {
			return invalid("%s is sent as JSON, and is not", field)
		}
		if err := optional("the content type of "+field, p.ContentType); err != nil {
			return err
		}
		if err := optional("the key of "+field, p.KeyId); err != nil {
			return err
		}
	}
	return nil
}

// finite says that every number in a value can be written; as JSON the others would become text.
func finite(v *structpb.Value) bool {
	switch k := v.GetKind().(type) {
	case *structpb.Value_NumberValue:
		return !math.IsNaN(k.NumberValue) && !math.IsInf(k.NumberValue, 0)
	case *structpb.Value_ListValue:
		for _, v := range k.ListValue.GetValues() {
			if !finite(v) {
				return false
			}
		}
	case *structpb.Value_StructValue:
		for _, v := range k.StructValue.GetFields() {
			if !finite(v) {
				return false
			}
		}
	}
	return true
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
		if v == float64(int64(v)) && v > -maxExact && v < maxExact {
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

// valueOf has a reply show JSON as JSON: natural in curl. Other bytes stay in the payload field, and so does JSON that a
// JSON value would change.
func valueOf(value **structpb.Value, payload **v1.Payload) {
	p := *payload
	if p == nil || !isJSON(p) || len(p.Bytes) == 0 || !plain(p.Bytes) {
		return
	}
	v := &structpb.Value{}
	if v.UnmarshalJSON(p.Bytes) == nil {
		*value, *payload = v, nil
	}
}

// What a JSON value can carry: its numbers are doubles, and a message nested deeper cannot be decoded.
const (
	maxExact = 1 << 53
	maxDepth = 1000
)

// plain says that JSON becomes a value without loss: no whole number beyond 2^53, and no deep nesting.
func plain(b []byte) bool {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	depth := 0
	for {
		token, err := d.Token()
		switch token := token.(type) {
		case nil:
			if err != nil {
				return errors.Is(err, io.EOF)
			}
		case json.Delim:
			if token == '{' || token == '[' {
				depth++
			} else {
				depth--
			}
			if depth > maxDepth {
				return false
			}
		case json.Number:
			if !strings.ContainsAny(token.String(), ".eE") {
				if n, err := token.Int64(); err != nil || n < -maxExact || n > maxExact {
					return false
				}
			}
		}
	}
}

// speaksJSON says that a caller is answered in JSON.
func speaksJSON(h http.Header) bool { return strings.Contains(h.Get("Content-Type"), "json") }

// showLeased shows the inputs of runs that a reply leases, to those who are answered in JSON. Workers that speak protobuf have bytes, as
// on streams: to decode them here, for the worker to encode them again, took a fifth of a leader's time.
func showLeased(reply any) {
	switch reply := reply.(type) {
	case *v1.PollStepsResponse:
		showRuns(reply.Runs...)
	case *v1.LeaseStepResponse:
		showRuns(reply.Run)
	case *v1.CompleteStepResponse:
		showRuns(reply.Next...)
	case *v1.CompleteStepsResponse:
		for _, o := range reply.Outcomes {
			showRuns(o.Completed.GetNext()...)
		}
	}
}

func showRuns(runs ...*v1.LeasedRun) {
	for _, r := range runs {
		valueOf(&r.Input, &r.InputPayload)
	}
}

// showInstance shows an instance, whose message was made for this reply.
func showInstance(i *v1.Instance) *v1.Instance {
	valueOf(&i.Input, &i.InputPayload)
	valueOf(&i.Output, &i.OutputPayload)
	for _, r := range i.Runs {
		valueOf(&r.Output, &r.OutputPayload)
	}
	return i
}
