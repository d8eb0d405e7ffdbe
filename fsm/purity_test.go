package fsm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What decides must decide alike on every replica, today and when the log is read again. So the source of the state
// machine keeps to a list of imports and does without the parts of the language whose outcome is not in the program:
// goroutines and channels, the order of maps, floats, variables that outlive a call. This file is that list.

const (
	ours     = "github.com/lockstep-dev/lockstep/"
	protobuf = "google.golang.org/protobuf/"
)

// allowed has what any of the packages may import, and why it is harmless.
var allowed = map[string]string{
	ours + "jepsen/plant": "names of bugs; false by constant unless the build is made to be broken",
	"bufio":               "bytes", "bytes": "bytes", "cmp": "order", "container/heap": "order", "container/list": "order",
	"encoding/binary": "bytes", "encoding/hex": "bytes", "errors": "text", "fmt": "text, by the names below",
	"hash/crc32": "bytes", "crypto/sha256": "bytes", "io": "readers and writers that are handed in", "iter": "order", "maps": "lookups; iteration is checked below",
	"math": "by the names below", "math/bits": "integers", "slices": "order", "sort": "order", "strconv": "text", "strings": "text",
	"sync": "the lock between apply and readers, by the names below", "time": "lengths of time, by the names below",
	"unicode": "text", "unicode/utf16": "text", "unicode/utf8": "text",
	"github.com/google/btree": "order",
}

// alsoAllowed has what one package may import beside that.
var alsoAllowed = map[string]map[string]string{
	".": {
		ours + "fsm/graph": "what a workflow is", ours + "fsm/table": "rows",
		ours + "proto/gen/lockstep/v1": "commands, replies, events", ours + "proto/gen/lockstep/log/v1": "entries and rows",
		protobuf + "proto":                   "rows",
		protobuf + "reflect/protoreflect":    "names of stored replies",
		protobuf + "reflect/protoregistry":   "stored replies by name",
		protobuf + "types/known/durationpb":  "lengths of time in replies",
		protobuf + "types/known/timestamppb": "points of time in replies, made from the log's",
		protobuf + "types/known/structpb":    "presence of a field that transport/api fills",
	},
	"table": {},
	"graph": {
		"cel.dev/cel-go/":                          "expressions: a pinned subset, whose results and costs a golden corpus holds",
		"github.com/santhosh-tekuri/jsonschema/v6": "input schemas, before a command is proposed",
	},
}

// names are what may be used of packages that hold more than what is harmless.
var names = map[string][]string{
	"time": {"Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"},
	"sync": {"Mutex", "RWMutex", "Once"},
	"fmt":  {"Sprintf", "Sprint", "Errorf", "Fprintf", "Appendf", "Append", "Stringer"},
	"math": {"MaxInt", "MinInt", "MaxInt8", "MaxInt16", "MaxInt32", "MinInt32", "MaxInt64", "MinInt64", "MaxUint8", "MaxUint16", "MaxUint32", "MaxUint64",
		"IsNaN", "IsInf", "Inf", "NaN", "Abs", "Trunc", "Float64bits", "Float64frombits"}, // exact on every machine
}

// aside are files that are not looked at.
var aside = map[string]string{
	"table/dir.go":        "the disk: replaces an engine by another, never in apply's decisions",
	"table/pebble.go":     "the disk: gives back the rows that it was given, as memory.go does",
	"table/pebbleread.go": "the disk: gives back the rows that it was given, as memory.go does",
}

// unordered are the functions that may range over a map.
var unordered = map[string]string{
	"sorted.go sortedPairs": "it sorts what it found, and is there so that others need not",
	"graph/price.go weigh":  "a sum has no order",
}

// constants are variables of a package that are pointers, behind which nothing is ever written.
var constants = map[string]string{
	"rest.go noMotion": "each entry ends with a look at it, and the process with one that finds it changed",
	"rest.go noAside":  "likewise",
}

// floats are the packages through which numbers of payloads pass; nothing is computed with them there but by CEL.
var floats = map[string]string{"graph": "a payload's numbers are JSON's"}

func TestTheSourceIsPure(t *testing.T) {
	from := exports(t)
	used := map[string]bool{}
	for dir := range alsoAllowed {
		for _, other := range []string{"sabotage", "!sabotage"} { // the ordinary build, and the one that holds bugs
			files := sources(t, dir, other)
			c, err := check(from, dir, files)
			if err != nil || len(files) == 0 {
				t.Fatalf("%s: %d files, %v", dir, len(files), err)
			}
			for _, fault := range c.faults {
				t.Error(fault)
			}
			for at := range c.used {
				used[at] = true
			}
		}
	}
	for at := range unordered {
		if !used[at] {
			t.Errorf("%s needs no leave to range over a map: take it off the list", at)
		}
	}
}

// sources are the files of a package, by name, without tests and without those that only another build has.
func sources(t *testing.T, dir, other string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(path, "_test.go") && !strings.HasPrefix(string(b), "//go:build "+other+"\n") {
			files[filepath.Base(path)] = string(b)
		}
	}
	return files
}

// Each rule, broken in a snippet, is found and named; what looks alike and is harmless is not.
func TestAPlantedImpurityIsFound(t *testing.T) {
	from := exports(t)
	for _, x := range []struct{ dir, src, want string }{
		{".", `import "net"`, "import of net,"},
		{".", `import "time"; func f() { time.Sleep(1) }`, "time.Sleep, which is not on the list"},
		{".", `import "time"; var f = time.Now`, "time.Now, which is not on the list"},
		{".", `import "time"; func f() string { return (3 * time.Second).String() }`, ""},
		{".", `import "os"`, "import of os,"},
		{".", `import "math/rand"`, "import of math/rand,"},
		{".", `import "google.golang.org/protobuf/encoding/protojson"`, "import of google.golang.org/protobuf/encoding/protojson,"},
		{".", `import "github.com/lockstep-dev/lockstep/cluster"`, "import of github.com/lockstep-dev/lockstep/cluster,"},
		{".", `import "github.com/lockstep-dev/lockstep/fsm/graph/source"`, "import of github.com/lockstep-dev/lockstep/fsm/graph/source,"},
		{"table", `import "github.com/lockstep-dev/lockstep/fsm/graph"`, "import of github.com/lockstep-dev/lockstep/fsm/graph,"},
		{"graph", `import "cel.dev/cel-go/cel"; var _ *cel.Env`, ""},
		{"graph", `import "github.com/lockstep-dev/lockstep/fsm/graph/source"`, "import of github.com/lockstep-dev/lockstep/fsm/graph/source,"},
		{"graph", `import "time"; var _ = time.Now`, "time.Now, which is not on the list"},
		{"graph", `var seen = map[string]bool{}; func f() { seen["x"] = true }`, "writes the variable seen"},
		{".", `import "sync"; var _ sync.RWMutex`, ""},
		{".", `import "sync"; func f(g *sync.WaitGroup) {}`, "sync.WaitGroup, which is not on the list"},
		{".", `import "fmt"; func f() { fmt.Println() }`, "fmt.Println, which is not on the list"},
		{".", `func f() { go f() }`, "a goroutine"},
		{".", `func f(c chan int) {}`, "a channel"},
		{".", `func f() { select {} }`, "a channel"},
		{".", `func f(m map[string]int) { for range m { } }`, "range over a map"},
		{".", `type set map[string]bool; func f(m set) { for range m { } }`, "range over a map"},
		{".", `func f[M ~map[string]int](m M) { for range m { } }`, "range over a map"},
		{".", `func f[S ~[]int](s S) { for range s { } }`, ""},
		{".", `import "maps"; func f(m map[string]int) { for range maps.Keys(m) { } }`, "maps.Keys: its order"},
		{".", `import "maps"; func f(m map[string]int) { g := maps.Values; _ = g(m) }`, "maps.Values: its order"},
		{".", `import ("maps"; "slices"); func f(m map[string]int) []string { return slices.Sorted(maps.Keys(m)) }`, ""},
		{".", `import "google.golang.org/protobuf/reflect/protoreflect"; func f(m protoreflect.Message) { m.Range(nil) }`, "Range of a message"},
		{".", `import v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"; func f(m *v1.Event) string { return m.String() }`, "a message as text"},
		{".", `import ("fmt"; v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"); func f(m *v1.Event) string { return fmt.Sprint(m) }`, "a message as text"},
		{".", `import v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"; func f(c v1.Code) string { return c.String() }`, ""},
		{".", `import "fmt"; func f(x *int) string { return fmt.Sprintf("%p", x) }`, "%p: an address"},
		{".", `var x float64`, "a float"},
		{".", `const half = 0.5`, "a float"},
		{".", `type t struct { x []float32 }`, "a float"},
		{".", `const nanos = 3e9; var _ = int64(5) / 1e3`, "a float"}, // nanos has no type that is an integer's
		{".", `const nanos int64 = 3e9; var _ = int64(5) / 1e3`, ""},
		{"graph", `func f(x float64) bool { return x < 0.5 }`, ""},
		{"graph", `func f(x float64) float64 { return x*x + 1 }`, "arithmetic with floats"},
		{"graph", `func f(x float64) { x /= 3 }`, "arithmetic with floats"},
		{"graph", `import "math"; func f(x float64) float64 { return math.Exp(x) }`, "math.Exp, which is not on the list"},
		{".", `import "errors"; var ErrX = errors.New("x")`, ""},
		{".", `import "hash/crc32"; var castagnoli = crc32.MakeTable(crc32.Castagnoli)`, ""},
		{".", `var primes = [...]int{2, 3, 5}`, ""},
		{".", `var primes = []int{2}; func f() { primes[0] = 4 }`, "writes the variable primes"},
		{".", `var primes = []int{2}; func f() *int { return &primes[0] }`, "writes the variable primes"},
		{".", `var count = 0; func f() { count++ }`, "writes the variable count"},
		{".", `var count int`, "the variable count"},
		{".", `var cache = map[string]*int{}`, "the variable cache"},
		{".", `func f() { count := 0; count++ }`, ""},
		{".", `func init() {}`, "init: nothing happens"},
		{".", `func f() { defer func() { recover() }() }`, "recover: a panic"},
		{".", `func f() { println() }`, "println: no log line"},
		{".", `import _ "strings"
//go:linkname now time.now
func now() int64`, "linkname"},
	} {
		c, err := check(from, x.dir, map[string]string{"planted.go": "package p\n" + x.src})
		if c == nil {
			t.Fatalf("%s: %v", x.src, err)
		}
		got := strings.Join(c.faults, "\n")
		if x.want == "" && got != "" || !strings.Contains(got, x.want) {
			t.Errorf("%s: %q, want %q", x.src, got, x.want)
		}
	}
}
