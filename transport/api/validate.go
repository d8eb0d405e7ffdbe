package api

import (
	"cmp"
	"net"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Limits of requests (DESIGN §7).
const (
	maxName       = 256
	maxLabels     = 32
	maxKeys       = 16
	maxBatch      = 100
	maxWait       = 60 * time.Second
	maxText       = 4 << 10
	maxDefinition = 512 << 10
	maxTTL        = 3650 * 24 * time.Hour // of a signal
	maxTokens     = 100_000               // that a renewal lists
	maxTrace      = 64
)

func invalid(format string, args ...any) error {
	return fsm.Refuse(v1.Code_CODE_INVALID, format, args...)
}

// name checks something that names: of some length, and printable.
func name(field, s string) error {
	switch {
	case s == "":
		return invalid("%s is missing", field)
	case len(s) > maxName:
		return invalid("%s has %d bytes, the limit is %d", field, len(s), maxName)
	case !utf8.ValidString(s):
		return invalid("%s is not valid UTF-8", field)
	case strings.ContainsFunc(s, unicode.IsControl):
		return invalid("%s has a control character", field)
	}
	return nil
}

// optional checks something that names, if it is there.
func optional(field, s string) error {
	if s == "" {
		return nil
	}
	return name(field, s)
}

// names checks fields in turn: field, value, field, value.
func names(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if err := name(pairs[i], pairs[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func text(field, s string) error {
	if len(s) > maxText || !utf8.ValidString(s) {
		return invalid("%s is over %d bytes, or not valid UTF-8", field, maxText)
	}
	return nil
}

func pairs(field string, m map[string]string, limit int) error {
	if len(m) > limit {
		return invalid("%s has %d entries, the limit is %d", field, len(m), limit)
	}
	for key, value := range m {
		if err := name(field+" key", key); err != nil {
			return err
		}
		if len(value) > maxName || !utf8.ValidString(value) {
			return invalid("%s[%s] is over %d bytes, or not valid UTF-8", field, key, maxName)
		}
	}
	return nil
}

// waitOf reads how long a call may wait.
func waitOf(d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	wait := d.AsDuration()
	if !d.IsValid() || wait < 0 || wait > maxWait {
		return 0, invalid("wait is %s, and must be between 0 and %s", wait, maxWait)
	}
	return wait, nil
}

// page checks what a list is asked for.
func page(limit int32, cursor string) error {
	if limit < 0 || limit > 1000 {
		return invalid("limit is %d, and must be between 0 (100 is taken) and 1000", limit)
	}
	if len(cursor) > maxText {
		return invalid("page is not one that a list gave")
	}
	return nil
}

// issued checks a token's shape: tokens count from 1.
func issued(token int64) error {
	if token <= 0 {
		return invalid("token is %d; give the token that came with the lease", token)
	}
	return nil
}

func version(v int32) error {
	if v < 0 {
		return invalid("version is %d; versions count from 1", v)
	}
	return nil
}

// address checks that something can be dialled.
func address(field, s string) error {
	if host, port, err := net.SplitHostPort(s); err != nil || host == "" || port == "" {
		return invalid("%s is %q, and must be host:port", field, s)
	}
	return nil
}

// within refuses an item of a batch, or of a stream, that belongs elsewhere: it would be done in the wrong place.
func within(namespace, item string) error {
	if item != "" && item != cmp.Or(namespace, fsm.DefaultNamespace) {
		return invalid("the item is of namespace %q, and is sent with others to %q", item, cmp.Or(namespace, fsm.DefaultNamespace))
	}
	return nil
}

// sessionOf reads a session's id.
func sessionOf(id string) (int64, error) {
	if id == "" {
		return 0, invalid("sessionId is missing; open a session first")
	}
	n, ok := fsm.ParseSession(id)
	if !ok {
		return 0, fsm.Refuse(v1.Code_CODE_SESSION_EXPIRED, "session %q never was; open one", id)
	}
	return n, nil
}

// held checks what names a held run.
func held(instance, step string, index int32, token int64) error {
	if err := names("instanceId", instance, "step", step); err != nil {
		return err
	}
	if index < 0 {
		return invalid("index is %d", index)
	}
	return issued(token)
}
