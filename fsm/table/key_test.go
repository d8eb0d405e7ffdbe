package table

import (
	"bytes"
	"cmp"
	"testing"
)

// FuzzKeyOrder: keys order as the tuples that they encode, no tuple's prefix catches another's, and what went in
// comes out.
func FuzzKeyOrder(f *testing.F) {
	f.Add("", "", uint64(0), "", "", uint64(0))
	f.Add("a", "b", uint64(1), "a\x00", "b", uint64(1))
	f.Add("a\x00", "", uint64(1), "a", "\x00\xff", uint64(1<<63))
	f.Add("\xff", "\x00\x01", uint64(255), "\xff\xff", "\x01", uint64(256))
	f.Fuzz(func(t *testing.T, a1, a2 string, a3 uint64, b1, b2 string, b3 uint64) {
		a := AppendUint64(AppendString(AppendString(nil, a1), a2), a3)
		b := AppendUint64(AppendString(AppendString(nil, b1), b2), b3)
		want := cmp.Or(cmp.Compare(a1, b1), cmp.Compare(a2, b2), cmp.Compare(a3, b3))
		if got := bytes.Compare(a, b); got != want {
			t.Fatalf("(%q %q %d) and (%q %q %d): order %d, their keys' %d", a1, a2, a3, b1, b2, b3, want, got)
		}
		s1, rest, ok := CutString(a)
		s2, rest, ok2 := CutString(rest)
		v, rest, ok3 := CutUint64(rest)
		if !ok || !ok2 || !ok3 || s1 != a1 || s2 != a2 || v != a3 || len(rest) != 0 {
			t.Fatalf("(%q %q %d) came back as (%q %q %d), rest %x", a1, a2, a3, s1, s2, v, rest)
		}
		prefix := AppendString(nil, b1)
		if inside := bytes.HasPrefix(a, prefix); inside != (a1 == b1) {
			t.Fatalf("%q is under the prefix of %q: %v", a1, b1, inside)
		}
		end := End(prefix)
		if inside := bytes.Compare(a, prefix) >= 0 && bytes.Compare(a, end) < 0; inside != (a1 == b1) {
			t.Fatalf("%q is in the range of %q: %v", a1, b1, inside)
		}
	})
}

// FuzzCutString: no bytes make it panic, and what it takes for a part is one.
func FuzzCutString(f *testing.F) {
	for _, seed := range []string{"", "\x00", "\x00\x01", "\x00\xff", "a\x00\x02", "a\x00\xff\x00\x01rest"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		s, rest, ok := CutString(key)
		if ok && !bytes.Equal(append(AppendString(nil, s), rest...), key) {
			t.Fatalf("%x was cut into %q and %x", key, s, rest)
		}
	})
}

func TestEndOfAllKeys(t *testing.T) {
	for _, prefix := range [][]byte{nil, {0xff}, {0xff, 0xff}} {
		if end := End(prefix); end != nil {
			t.Errorf("End(%x) = %x: nothing is behind every key", prefix, end)
		}
	}
	if end := End([]byte{1, 0xff}); !bytes.Equal(end, []byte{2}) {
		t.Errorf("End(01ff) = %x", end)
	}
}
