package api

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A JSON value becomes the same bytes each time: keys in order, whole numbers as integers, nothing escaped for HTML.
func TestAValueBecomesCanonicalJSON(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"b":1,"a":[1.0,2.5,-0,1e3]}`: `{"a":[1,2.5,0,1000],"b":1}`,
		`"<é>&"`:                       `"<é>&"`,
		`null`:                         `null`,
		`9007199254740991`:             `9007199254740991`,
		`1e300`:                        `1e+300`,
		`{"x":{"z":true,"y":null}}`:    `{"x":{"y":null,"z":true}}`,
	} {
		value := &structpb.Value{}
		if err := value.UnmarshalJSON([]byte(in)); err != nil {
			t.Fatal(err)
		}
		var payload *v1.Payload
		if err := payloadOf("input", &value, &payload); err != nil || string(payload.GetBytes()) != want || value != nil {
			t.Errorf("%s became %s, want %s: %v", in, payload.GetBytes(), want, err)
		}
	}
}

func TestPayloadsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		value   *structpb.Value
		payload *v1.Payload
		want    v1.Code
	}{
		"both":             {structpb.NewNullValue(), &v1.Payload{}, v1.Code_CODE_INVALID},
		"not a number":     {structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewNumberValue(math.NaN())}}), nil, v1.Code_CODE_INVALID},
		"not JSON":         {nil, &v1.Payload{Bytes: []byte("{")}, v1.Code_CODE_INVALID},
		"a type":           {nil, &v1.Payload{ContentType: "a\n"}, v1.Code_CODE_INVALID},
		"a key":            {nil, &v1.Payload{KeyId: strings.Repeat("k", maxName+1)}, v1.Code_CODE_INVALID},
		"over the limit":   {nil, &v1.Payload{ContentType: "x/y", Bytes: make([]byte, maxPayload+1)}, v1.Code_CODE_PAYLOAD_TOO_LARGE},
		"at the limit":     {nil, &v1.Payload{ContentType: "x/y", Bytes: make([]byte, maxPayload)}, 0},
		"an encrypted one": {nil, &v1.Payload{KeyId: "k", Bytes: []byte("{")}, 0},
		"none":             {nil, nil, 0},
	} {
		if got := refusalOf(payloadOf("input", &x.value, &x.payload)).GetCode(); got != x.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A reply shows JSON as JSON, unless that would change it.
func TestAReplyShowsJSON(t *testing.T) {
	t.Parallel()
	for in, shown := range map[string]bool{
		`{"a":1}`: true, `9007199254740992`: true, `9007199254740993`: false, `-9007199254740993`: false, `12345678901234567890123`: false,
		`{"id":[9007199254740993]}`: false, `"9007199254740993"`: true, `0.1`: true, `1e400`: false,
		strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth):     true,
		strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1): false,
	} {
		payload := &v1.Payload{Bytes: []byte(in)}
		var value *structpb.Value
		valueOf(&value, &payload)
		if shown != (value != nil) || shown == (payload != nil) {
			t.Errorf("%.40s is shown as %.40v and %.40v", in, value, payload)
		}
		if value != nil {
			b, err := proto.Marshal(value)
			if err != nil || proto.Unmarshal(b, &structpb.Value{}) != nil {
				t.Errorf("%.40s cannot be read by a client: %v", in, err)
			}
		}
	}
	for _, p := range []*v1.Payload{nil, {}, {ContentType: "text/plain", Bytes: []byte("1")}, {KeyId: "k", Bytes: []byte("1")}} {
		before := p
		var value *structpb.Value
		if valueOf(&value, &p); value != nil || p != before {
			t.Errorf("%v is shown as %v", before, value)
		}
	}
}

// Whole numbers come out of a shown value as they went in.
func FuzzShownJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,"x",null,true]}`, `9007199254740993`, `[[1e5]]`, `-0`, `"\ud800"`, `10000000000000000.0`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		payload := &v1.Payload{Bytes: b}
		if !json.Valid(b) {
			return
		}
		var value *structpb.Value
		if valueOf(&value, &payload); value == nil {
			return
		}
		again, err := canonical(value.AsInterface())
		if err != nil {
			t.Fatal(err)
		}
		if !alike(parsed(t, b), parsed(t, again)) {
			t.Errorf("%s is shown as %s", b, again)
		}
	})
}

// parsed reads JSON with its numbers as they are written.
func parsed(t *testing.T, b []byte) (v any) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// alike says that what is shown is what was sent: a number sent as an integer exactly, one sent with a fraction or an exponent as the double
// it is, however that is written.
func alike(sent, shown any) bool {
	switch sent := sent.(type) {
	case json.Number:
		shown, ok := shown.(json.Number)
		if n, err := sent.Int64(); err == nil {
			m, err := shown.Int64()
			return ok && err == nil && n == m
		}
		a, erra := sent.Float64()
		b, errb := shown.Float64()
		return ok && erra == nil && errb == nil && a == b
	case []any:
		shown, ok := shown.([]any)
		return ok && slices.EqualFunc(sent, shown, alike)
	case map[string]any:
		shown, ok := shown.(map[string]any)
		return ok && maps.EqualFunc(sent, shown, alike)
	}
	return sent == shown
}
