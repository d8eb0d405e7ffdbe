package fsm_test

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// checker looks at one package.
type checker struct {
	dir    string // under fsm
	fset   *token.FileSet
	info   *types.Info
	pkg    *types.Package
	used   map[string]bool   // of unordered
	sorted map[ast.Node]bool // calls whose outcome is sorted at once
	file   string
	fn     string
	faults []string
}

func (c *checker) say(n ast.Node, format string, args ...any) {
	at := c.fset.Position(n.Pos())
	fault := fmt.Sprintf("%s:%d: ", c.file, at.Line) + fmt.Sprintf(format, args...)
	if !slices.Contains(c.faults, fault) {
		c.faults = append(c.faults, fault)
	}
}

func (c *checker) look(name string, file *ast.File) {
	c.file = filepath.ToSlash(filepath.Join(c.dir, name))
	for _, spec := range file.Imports {
		c.importSpec(spec)
	}
	for _, d := range file.Decls {
		c.fn = ""
		switch d := d.(type) {
		case *ast.FuncDecl:
			c.fn = d.Name.Name
			if d.Recv == nil && d.Name.Name == "init" {
				c.say(d, "init: nothing happens before Open")
			}
		case *ast.GenDecl:
			if d.Tok == token.VAR {
				c.variables(d)
			}
		}
		ast.Inspect(d, c.node)
	}
	for _, group := range file.Comments {
		for _, comment := range group.List {
			if strings.HasPrefix(comment.Text, "//go:linkname") {
				c.say(comment, "linkname: what it names is not imported")
			}
		}
	}
}

func (c *checker) importSpec(spec *ast.ImportSpec) {
	path, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		c.say(spec, "import of %s: %v", spec.Path.Value, err)
		return
	}
	if _, ok := allowed[path]; ok {
		return
	}
	for prefix := range alsoAllowed[c.dir] {
		if path == prefix || strings.HasSuffix(prefix, "/") && strings.HasPrefix(path, prefix) {
			return
		}
	}
	c.say(spec, "import of %s, which is not on the list", path)
}

// node checks one node of the syntax.
func (c *checker) node(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		c.say(n, "a goroutine")
	case *ast.ChanType, *ast.SendStmt, *ast.SelectStmt:
		c.say(n, "a channel")
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			c.say(n, "a channel")
		}
		if n.Op == token.AND {
			c.written(n.X)
		}
	case *ast.RangeStmt:
		c.rangeOver(n)
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			for _, left := range n.Lhs {
				c.written(left)
			}
		}
		if n.Tok != token.ASSIGN && n.Tok != token.DEFINE && c.isFloat(n.Lhs[0]) {
			c.say(n, "arithmetic with floats: its last bit may differ between machines")
		}
	case *ast.IncDecStmt:
		c.written(n.X)
	case *ast.CallExpr:
		c.call(n)
	case *ast.SelectorExpr:
		c.selector(n)
	case *ast.BasicLit:
		if n.Kind == token.STRING && strings.Contains(n.Value, "%p") {
			c.say(n, "%%p: an address is not the same twice")
		}
	case *ast.BinaryExpr:
		arithmetic := n.Op == token.ADD || n.Op == token.SUB || n.Op == token.MUL || n.Op == token.QUO
		if arithmetic && c.isFloat(n) && c.info.Types[n].Value == nil {
			c.say(n, "arithmetic with floats: its last bit may differ between machines")
		}
	}
	if e, ok := n.(ast.Expr); ok && floats[c.dir] == "" && c.isFloat(e) {
		c.say(n, "a float")
	}
	return true
}

func (c *checker) isFloat(e ast.Expr) bool {
	t := c.info.TypeOf(e)
	if t == nil {
		return false
	}
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&(types.IsFloat|types.IsComplex) != 0
}

func (c *checker) rangeOver(n *ast.RangeStmt) {
	if n.Tok == token.ASSIGN {
		c.written(n.Key)
		c.written(n.Value)
	}
	if t := c.info.TypeOf(n.X); t != nil && isMap(t) {
		c.disorder(n, "range over a map")
	}
	if t := c.info.TypeOf(n.X); t != nil {
		if _, ok := t.Underlying().(*types.Chan); ok {
			c.say(n, "a channel")
		}
	}
}

// isMap says whether values of a type are maps, or may be where the type is a parameter.
func isMap(t types.Type) bool {
	if p, ok := t.(*types.TypeParam); ok {
		t = p.Constraint()
	}
	switch u := t.Underlying().(type) {
	case *types.Map:
		return true
	case *types.Interface:
		for i := range u.NumEmbeddeds() {
			union, ok := u.EmbeddedType(i).(*types.Union)
			for j := 0; ok && j < union.Len(); j++ {
				if isMap(union.Term(j).Type()) {
					return true
				}
			}
		}
	}
	return false
}

func (c *checker) disorder(n ast.Node, what string) {
	at := c.file + " " + c.fn
	if _, ok := unordered[at]; ok {
		c.used[at] = true
		return
	}
	c.say(n, "%s: its order is not the same twice", what)
}

// selector checks what is used of another package.
func (c *checker) selector(n *ast.SelectorExpr) {
	object := c.info.Uses[n.Sel]
	if object == nil || object.Pkg() == nil {
		return
	}
	path := object.Pkg().Path()
	if _, field := c.info.Selections[n]; field {
		if object.Name() == "Range" && strings.HasPrefix(path, protobuf) {
			c.disorder(n, "Range of a message or a map")
		}
		return
	}
	if only, ok := names[path]; ok && !slices.Contains(only, object.Name()) {
		c.say(n, "%s.%s, which is not on the list", path, object.Name())
	}
	if path == "maps" && slices.Contains([]string{"Keys", "Values", "All", "DeleteFunc"}, object.Name()) && !c.sorted[n] {
		c.disorder(n, "maps."+object.Name())
	}
}

func (c *checker) call(n *ast.CallExpr) {
	switch object := c.callee(n).(type) {
	case *types.Builtin:
		if object.Name() == "recover" {
			c.say(n, "recover: a panic ends the process")
		}
		if object.Name() == "print" || object.Name() == "println" {
			c.say(n, "%s: no log line", object.Name())
		}
	case *types.Func:
		if object.Pkg() != nil && object.Pkg().Path() == "slices" && strings.HasPrefix(object.Name(), "Sorted") {
			if inner, ok := n.Args[0].(*ast.CallExpr); ok {
				c.sorted[inner.Fun] = true
			}
		}
		if object.Pkg() != nil && object.Pkg().Path() == "fmt" {
			for _, arg := range n.Args {
				if c.isMessage(arg) {
					c.say(arg, "a message as text: protobuf changes its spacing at random")
				}
			}
		}
		if s, ok := n.Fun.(*ast.SelectorExpr); ok && object.Name() == "String" && c.isMessage(s.X) {
			c.say(n, "a message as text: protobuf changes its spacing at random")
		}
	}
}

func (c *checker) callee(n *ast.CallExpr) types.Object {
	switch f := ast.Unparen(n.Fun).(type) {
	case *ast.Ident:
		return c.info.Uses[f]
	case *ast.SelectorExpr:
		return c.info.Uses[f.Sel]
	}
	return nil
}

// isMessage says whether a value is a protobuf message, which its method of reflection tells.
func (c *checker) isMessage(e ast.Expr) bool {
	t := c.info.TypeOf(e)
	if t == nil {
		return false
	}
	method, _, _ := types.LookupFieldOrMethod(t, true, c.pkg, "ProtoReflect")
	_, ok := method.(*types.Func)
	return ok
}

// variables checks those of a package: errors, and tables that nobody writes to.
func (c *checker) variables(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		for i, name := range spec.(*ast.ValueSpec).Names {
			values := spec.(*ast.ValueSpec).Values
			if name.Name == "_" || len(values) > i && c.isSentinel(values[i]) || constants[c.file+" "+name.Name] != "" {
				continue
			}
			if object := c.info.Defs[name]; len(values) <= i || object == nil || !isTable(object.Type()) {
				c.say(name, "the variable %s: what is remembered belongs to a Machine", name.Name)
			}
		}
	}
}

func (c *checker) isSentinel(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	f := c.callee(call)
	return f != nil && f.Pkg() != nil && slices.Contains([]string{"errors.New", "fmt.Errorf", "hash/crc32.MakeTable"}, f.Pkg().Path()+"."+f.Name())
}

// isTable says whether a type holds plain values alone.
func isTable(t types.Type) bool {
	switch u := t.Underlying().(type) {
	case *types.Basic:
		return true
	case *types.Array:
		return isTable(u.Elem())
	case *types.Slice:
		return isTable(u.Elem())
	case *types.Map:
		return isTable(u.Key()) && isTable(u.Elem())
	case *types.Struct:
		for i := range u.NumFields() {
			if !isTable(u.Field(i).Type()) {
				return false
			}
		}
		return true
	}
	return false
}

// written checks what is assigned to, or whose address is taken.
func (c *checker) written(e ast.Expr) {
	for {
		switch x := e.(type) {
		case *ast.ParenExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.Ident:
			if v, ok := c.info.Uses[x].(*types.Var); ok && v.Parent() == c.pkg.Scope() {
				c.say(x, "writes the variable %s", x.Name)
			}
			return
		default:
			return
		}
	}
}

// exports finds the compiled form of all that the packages import, which the build has anyway.
func exports(t *testing.T) types.Importer {
	t.Helper()
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}", ".", "./table", "./graph").Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("go list: %s", failed.Stderr)
		}
		t.Fatal(err)
	}
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		files[path] = file
	}
	return importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		if files[path] == "" {
			return nil, fmt.Errorf("%s is not built", path)
		}
		b, err := os.ReadFile(files[path])
		return io.NopCloser(bytes.NewReader(b)), err
	})
}

// check looks at a package of files by name; one that does not compile is looked at as far as it does.
func check(from types.Importer, dir string, files map[string]string) (c *checker, err error) {
	c = &checker{dir: dir, fset: token.NewFileSet(), used: map[string]bool{}, sorted: map[ast.Node]bool{},
		info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}}
	parsed := map[string]*ast.File{}
	var all []*ast.File
	order := make([]string, 0, len(files))
	for name := range files {
		order = append(order, name)
	}
	slices.Sort(order)
	for _, name := range order {
		if parsed[name], err = parser.ParseFile(c.fset, name, files[name], parser.ParseComments|parser.SkipObjectResolution); err != nil {
			return nil, err
		}
		all = append(all, parsed[name])
	}
	config := types.Config{Importer: from, Error: func(e error) { err = errors.Join(err, e) }}
	c.pkg, _ = config.Check("p", c.fset, all, c.info)
	for _, name := range order {
		if aside[filepath.ToSlash(filepath.Join(dir, name))] == "" {
			c.look(name, parsed[name])
		}
	}
	return c, err
}
