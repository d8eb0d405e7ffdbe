package table

import (
	"encoding/binary"
	"strings"
)

// A key is a tuple of parts whose byte order is the order of the tuples. A string part is escaped
// (0x00 becomes 0x00 0xff) and ended by 0x00 0x01, so that no string's encoding is a prefix of another's.

// AppendString adds a string part to a key.
func AppendString(key []byte, s string) []byte {
	if strings.IndexByte(s, 0) < 0 {
		return append(append(key, s...), 0, 1)
	}
	for i := 0; i < len(s); i++ {
		if s[i] == 0 {
			key = append(key, 0, 0xff)
		} else {
			key = append(key, s[i])
		}
	}
	return append(key, 0, 1)
}

// AppendUint64 adds an unsigned part to a key.
func AppendUint64(key []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(key, v) }

// CutString takes a string part off a key. ok is false when the key does not begin with one.
func CutString(key []byte) (s string, rest []byte, ok bool) {
	var out []byte
	for i := 0; i < len(key); i++ {
		if key[i] != 0 {
			out = append(out, key[i])
			continue
		}
		if i+1 >= len(key) {
			return "", nil, false
		}
		switch key[i+1] {
		case 1:
			return string(out), key[i+2:], true
		case 0xff:
			out = append(out, 0)
			i++
		default:
			return "", nil, false
		}
	}
	return "", nil, false
}

// CutUint64 takes an unsigned part off a key.
func CutUint64(key []byte) (v uint64, rest []byte, ok bool) {
	if len(key) < 8 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint64(key), key[8:], true
}

// End returns the first key behind every key that begins with prefix. It is nil when there is none.
func End(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}
