package graph

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
)

// allowed is what this package may import, because it computes and does nothing else.
var allowed = []string{
	"bytes", "cmp", "crypto/sha256", "encoding/hex", "errors", "fmt", "maps", "math", "slices", "strconv", "strings",
	"sync", "unicode", "unicode/utf16", "unicode/utf8",
	"cel.dev/cel-go/", "github.com/santhosh-tekuri/jsonschema/v6",
}

// The package has no clock, no chance, no goroutine, no channel and no variable.
func TestPurity(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := file.Name()
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, fault := range impurities(t, string(src)) {
				t.Errorf("%s: %s", name, fault)
			}
		}
	}
}

func impurities(t *testing.T, src string) (faults []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range file.Imports {
		path := strings.Trim(i.Path.Value, `"`)
		if !slices.ContainsFunc(allowed, func(a string) bool { return path == a || strings.HasSuffix(a, "/") && strings.HasPrefix(path, a) }) {
			faults = append(faults, "imports "+path)
		}
	}
	for _, d := range file.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
			for _, spec := range g.Specs {
				if v := spec.(*ast.ValueSpec); !errorValue(v) {
					faults = append(faults, "has the variable "+v.Names[0].Name)
				}
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n.(type) {
		case *ast.GoStmt:
			faults = append(faults, "starts a goroutine")
		case *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
			faults = append(faults, "has a channel")
		}
		return true
	})
	return faults
}

// errorValue says whether a variable is an errors.New, which nobody assigns to.
func errorValue(v *ast.ValueSpec) bool {
	if len(v.Values) != 1 {
		return false
	}
	call, ok := v.Values[0].(*ast.CallExpr)
	if !ok {
		return false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	return ok && f.Sel.Name == "New" && f.X.(*ast.Ident).Name == "errors"
}

// The check finds what it looks for.
func TestPurityFindsFaults(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{`import "time"`, "imports time"},
		{`import "github.com/lockstep-dev/lockstep/fsm/graph/source"`, "imports github.com/lockstep-dev/lockstep/fsm/graph/source"},
		{`var seen = map[string]bool{}`, "has the variable seen"},
		{`func f() { go f() }`, "starts a goroutine"},
		{`func f(c chan int) {}`, "has a channel"},
	} {
		if got := impurities(t, "package p\n"+c.src); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s: %v, want %s", c.src, got, c.want)
		}
	}
}
