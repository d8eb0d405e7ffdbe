package graph

import (
	"strings"
	"testing"
)

// What is only checked is refused as what is decoded is, and takes no memory.
func TestAValueIsCheckedAsItIsDecoded(t *testing.T) {
	for _, value := range []string{
		`null`, `true`, `[]`, `{}`, ` {"a": [1, -2.5e3, "x\u00e9\ud83d\ude00\n", true, null], "": {}} `, `1e400`, `12345678901234567890`, `"\ud800"`, `01`, `[1,]`, `{"a":1,"a":2}`,
		`-`, `-0`, `"`, `"\`, `"\x"`, "\"\xff\"", "\"\x01\"", "{\"\xff\":1}", `{"a"}`, `{"a":}`, `[1 2]`, `nul`, `1 1`, ``, strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth), strings.Repeat("[", maxDepth+1),
	} {
		_, want := decodeValue([]byte(value))
		if got := checkValue([]byte(value)); got != want {
			t.Errorf("%.60q is checked with %v, and decoded with %v", value, got, want)
		}
	}
	plain := []byte(`{"order": {"id": "o-1", "lines": [1, 2.5, 300000], "paid": false}}`)
	if n := testing.AllocsPerRun(100, func() {
		if err := checkValue(plain); err != nil {
			t.Fatal(err)
		}
	}); n > 2 { // the decoder, and the text of a number with a fraction
		t.Errorf("it takes %v allocations", n)
	}
}
