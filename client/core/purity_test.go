package core

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// What the core may import: nothing that does IO, waits, or draws. Of time it may use durations.
var imports = map[string]bool{
	"cmp": true, "maps": true, "slices": true, "time": true,
	"github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1": true,
}

var timeNames = map[string]bool{"Duration": true, "Nanosecond": true, "Microsecond": true, "Millisecond": true, "Second": true, "Minute": true, "Hour": true}

func impure(file *ast.File) (found []string) {
	for _, spec := range file.Imports {
		if path, _ := strconv.Unquote(spec.Path.Value); !imports[path] {
			found = append(found, "imports "+path)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, "starts a goroutine")
		case *ast.ChanType:
			found = append(found, "has a channel")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && !timeNames[n.Sel.Name] {
				found = append(found, "uses time."+n.Sel.Name)
			}
		}
		return true
	})
	return found
}

func TestPurity(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), entry.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, what := range impure(file) {
			t.Errorf("%s %s", entry.Name(), what)
		}
	}
}

// The check finds what it is there for.
func TestPurityFindsViolations(t *testing.T) {
	const planted = `package core
import ("net"; "time")
func f() { go net.Dial("", ""); <-time.After(time.Second); var _ chan int }`
	file, err := parser.ParseFile(token.NewFileSet(), "planted.go", planted, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := impure(file); len(got) != 4 {
		t.Errorf("found %q, want an import, a goroutine, a channel and time.After", got)
	}
}
