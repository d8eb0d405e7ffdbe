package lockstep

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// cores are stepped: time and calls are handed to them, and they hand back what is to be done. What they reach is in
// the table of layers; here is what their own source must not contain.
var cores = []string{"cluster/propose", "cluster/pending", "client/core"}

// coreImports are all that a core may import, and why each does nothing else than compute. What is not here, such as os,
// context, sync or rand, is its driver's.
var coreImports = map[string]string{
	"cmp": "order", "maps": "lookups and copies", "slices": "order", "time": "by the names below",
	"google.golang.org/protobuf/proto":    "sizes and bytes of what is handed in",
	module + "/proto/gen/lockstep/v1":     "what is said",
	module + "/proto/gen/lockstep/log/v1": "what is logged",
	module + "/jepsen/plant":              "names of bugs; false by constant unless the build is made to be broken",
}

// coreTime is what a core may use of package time: lengths and points, no clock and no timer.
var coreTime = []string{"Duration", "Time", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"}

// impurities names what a core's file has and must not have.
func impurities(fset *token.FileSet, file *ast.File) []string {
	var out []string
	say := func(n ast.Node, format string, args ...any) {
		at := fset.Position(n.Pos())
		out = append(out, fmt.Sprintf("%s:%d: ", at.Filename, at.Line)+fmt.Sprintf(format, args...))
	}
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil || coreImports[path] == "" {
			say(spec, "import of %s, which is not on the list", path)
		}
		if path == "time" && spec.Name != nil {
			say(spec, "time under another name: what is used of it could not be seen")
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			say(n, "a goroutine: the driver has them")
		case *ast.SelectStmt, *ast.ChanType, *ast.SendStmt:
			say(n, "a channel: the driver waits")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && !slices.Contains(coreTime, n.Sel.Name) {
				say(n, "time.%s: the driver has the clock", n.Sel.Name)
			}
		}
		return true
	})
	return out
}

func TestCoresHaveNoClockAndNoGoroutine(t *testing.T) {
	for _, dir := range cores {
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(dir); err == nil && len(names) == 0 {
			t.Errorf("%s has no files: this test looks at nothing", dir)
		}
		fset := token.NewFileSet()
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range impurities(fset, file) {
				t.Error(found)
			}
		}
	}
}

func TestAPlantedImpurityIsFound(t *testing.T) {
	for src, want := range map[string]string{
		`import "time"; var d = 3 * time.Second`:    "",
		`import "time"; func f() { time.Sleep(1) }`: "time.Sleep",
		`import "time"; func f() { time.Now() }`:    "time.Now",
		`import "time"; func f() { time.After(1) }`: "time.After",
		`import clock "time"; var _ = clock.Now`:    "another name",
		`import "os"`:                               "import of os",
		`import "sync"`:                             "import of sync",
		`import "math/rand/v2"`:                     "import of math/rand/v2",
		`import "net"`:                              "import of net",
		`import "context"`:                          "import of context",
		`import "cmp"`:                              "",
		`func f() { go f() }`:                       "a goroutine",
		`var c chan int`:                            "a channel",
		`func f(c func() <-chan int) { select {} }`: "a channel",
	} {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "planted.go", "package p\n"+src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(impurities(fset, file), "\n")
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", src, got, want)
		}
	}
}
