package source_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/fsm/graph/source"
)

// parse returns the first error's sentence, or nothing.
func parse(src, format string) string {
	if _, err := source.Parse([]byte(src), format); err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return first
	}
	return ""
}

// steps is a chain of n steps, in JSON, which is read sooner than YAML.
func steps(n int) string {
	var b strings.Builder
	b.WriteString(`{"workflow":"w","steps":{"s0":{}`)
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, `,"s%d":{"needs":["s%d"]}`, i, i-1)
	}
	return b.String() + "}}"
}

// Each limit at it and one above.
func TestLimits(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	step := func(body string) string { return "workflow: w\nsteps:\n  a: {" + body + "}\n" }
	padded := func(n int) string {
		start := "{\"workflow\":\"w\",\"steps\":[{\"id\":\"a\"}]}"
		return start + strings.Repeat(" ", n-len(start))
	}
	locks := func(n int) string { return "locks: [" + strings.TrimSuffix(strings.Repeat("l,", n), ",") + "]" }
	codes := func(n int) string {
		return "retry: {nonRetryable: [" + strings.TrimSuffix(strings.Repeat("c,", n), ",") + "]}"
	}
	canonical := func(n int) string { // two aliases of it make the canonical form larger than the source
		return "workflow: w\nsteps:\n  a: {input: &x " + x(n) + "}\n  b: {input: *x}\n  c: {input: *x}\n  d: {input: *x}\n"
	}
	small, err := source.Parse([]byte(canonical(1)), "yaml")
	if err != nil {
		t.Fatal(err)
	}
	fits := (512<<10-len(small.Canonical))/4 + 1
	nested := func(n int) string { return "input: " + strings.Repeat("[", n) + strings.Repeat("]", n) }
	race := func(n int) string {
		waits, ids := "workflow: w\nsteps:\n", make([]string, n)
		for i := range n {
			ids[i] = fmt.Sprint("s", i)
			waits += "  " + ids[i] + ": {timer: {after: 1s}}\n"
		}
		return waits + "  z: {race: [" + strings.Join(ids, ", ") + "]}\n"
	}
	for _, c := range []struct {
		name, at, above, want string
	}{
		{"source", padded(512 << 10), padded(512<<10 + 1), "at most 524288 are allowed"},
		{"canonical form", canonical(fits), canonical(fits + 1), "larger than 512 KiB"},
		{"steps", steps(10_000), steps(10_001), "at most 10000 steps"},
		{"workflow's name", "workflow: " + x(256) + "\nsteps: {a: }", "workflow: " + x(257) + "\nsteps: {a: }", "at most 256 bytes"},
		{"step's id", "workflow: w\nsteps: {" + x(256) + ": }", "workflow: w\nsteps: {" + x(257) + ": }", "at most 256 bytes"},
		{"queue", step("queue: " + x(256)), step("queue: " + x(257)), "at most 256 bytes"},
		{"locks", step(locks(32)), step(locks(33)), "at most 32 locks"},
		{"codes", step(codes(32)), step(codes(33)), "at most 32 codes"},
		{"attempts", step("retry: {attempts: 1000000}"), step("retry: {attempts: 1000001}"), "from 1 to 1000000"},
		{"race", race(32), race(33), "at most 32 steps race"},
		{"timer", step("timer: {after: 3650d}"), step("timer: {after: 3651d}"), "at most 3650d"},
		{"date", step("timer: {until: '2262-01-01T00:00:00Z'}"), step("timer: {until: '2262-01-01T00:00:01Z'}"), "is no date"},
		{"role", step("approval: {role: " + x(256) + "}"), step("approval: {role: " + x(257) + "}"), "at most 256 bytes"},
		{"the whole", "workflow: w\ntimeouts: {total: 3650d}\nsteps: {a: }", "workflow: w\ntimeouts: {total: 3651d}\nsteps: {a: }", "at most 3650d"},
		{"duration", step("timeouts: {run: 3650d}"), step("timeouts: {run: 3651d}"), "at most 3650d"},
		{"expression", step("when: input." + x(4090)), step("when: input." + x(4091)), "limit 4096"},
		{"nesting", step(nested(65)), step(nested(66)), "at most 64 levels"},
	} {
		t.Run(c.name, func(t *testing.T) {
			format := "yaml"
			if strings.HasPrefix(c.at, "{") {
				format = "json"
			}
			if got := parse(c.at, format); got != "" {
				t.Errorf("at the limit: %s", got)
			}
			if got := parse(c.above, format); !strings.Contains(got, c.want) {
				t.Errorf("above the limit: %q, want %q", got, c.want)
			}
		})
	}
}

// Small sources that would grow or nest without bound are refused, soon.
func TestBombs(t *testing.T) {
	laughs := "workflow: w\nsteps:\n  a:\n    input:\n      l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 12; i++ {
		laughs += fmt.Sprintf("      l%d: &l%d [*l%d, *l%d, *l%d, *l%d, *l%d, *l%d, *l%d, *l%d, *l%d, *l%d]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	for _, c := range []struct{ name, src, format, want string }{
		{"aliases", laughs, "yaml", "aliases expand to too much"},
		{"brackets", "a: " + strings.Repeat("[", 100_000), "yaml", "max depth"},
		{"braces", strings.Repeat("{a: ", 100_000), "yaml", "max depth"},
		{"dashes", strings.Repeat("- ", 100_000), "yaml", "max depth"},
		{"questions", strings.Repeat("? ", 100_000), "yaml", "max depth"},
		{"keys", strings.Repeat("? x\n", 120_000), "yaml", "appears twice"},
		{"levels", "a: " + strings.Repeat("[", 200) + strings.Repeat("]", 200), "yaml", "nests deeper than 100 levels"},
		{"json", strings.Repeat(`{"a":`, 80_000), "json", "nests deeper than 100 levels"},
		{"json lists", strings.Repeat("[", 200_000), "json", "nests deeper than 100 levels"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := parse(c.src, c.format); !strings.Contains(got, c.want) {
				t.Errorf("%.200q, want %q", got, c.want)
			}
		})
	}
}

func TestInvalidUTF8(t *testing.T) {
	for _, format := range []string{"yaml", "json"} {
		if got := parse("workflow: w\nsteps: {\"\xff\": }", format); got != "2:10: this byte is not valid UTF-8; save the file as UTF-8" {
			t.Error(got)
		}
	}
}

// At most ten problems are reported, in the order of the source.
func TestTenErrors(t *testing.T) {
	src := "workflow: w\nsteps:\n"
	for i := range 30 {
		src += fmt.Sprintf("  s%d: {when: \"input.x +\"}\n", i)
	}
	_, err := source.Parse([]byte(src), "yaml")
	all, ok := err.(source.Errors)
	if !ok || len(all) != 10 || all[0].Line != 3 || all[9].Line != 12 || all.Unsupported() {
		t.Fatalf("%d errors: %v", len(all), err)
	}
}

func TestUnsupported(t *testing.T) {
	_, err := source.Parse([]byte("workflow: w\nsteps:\n  a: {gateway: x}\n  b: {default: x}\n"), "yaml")
	if all, ok := err.(source.Errors); !ok || len(all) != 2 || !all.Unsupported() {
		t.Fatal(err)
	}
}
