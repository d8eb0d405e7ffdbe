package graph

import (
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// references are what an expression reads.
type references struct {
	input, index, item, last, own bool
	steps                         []stepReference
}

type stepReference struct {
	id      string
	failure bool  // its error, else its output
	strict  bool  // the expression has no value without it
	at      int64 // the AST's node, for its position
}

// fault is what is wrong with an expression, at an AST node.
type fault struct {
	at          int64
	message     string
	unsupported bool
}

// referencesOf walks a checked expression. Steps are named statically, as steps.ID.output or steps["ID"].output (or .error), so
// that a definition's data flow is known when it is registered.
func referencesOf(a *ast.AST) (references, []fault) {
	w := &walker{ast: a}
	w.walk(a.Expr())
	return w.references, w.faults
}

const listsOnly = "all, exists, exists_one, filter and map work on lists only"

type walker struct {
	references
	ast    *ast.AST
	faults []fault
	may    int // how many parts around may be left out, or have an error that does not count
}

// Reading is a step's output, or error, without which an expression has no value. What the expression asks for first with has, or
// reads in a part that may not be evaluated, is none.
type Reading struct {
	Node    int  // whose expression it is; below zero for what a scope puts out
	Scope   int  // of Graph.Scopes: where it is evaluated
	Of      int  // the node that is read
	Failure bool // its error
	Turn    bool // a loop's condition reads it, which fails the step where others have it stand still
	Where   string
}

func (w *walker) refuse(e ast.Expr, message string) {
	w.faults = append(w.faults, fault{at: e.ID(), message: message})
}

func (w *walker) walk(e ast.Expr) {
	switch e.Kind() {
	case ast.IdentKind:
		w.ident(e)
	case ast.SelectKind:
		if id, at, ok := stepOf(e.AsSelect().Operand()); ok {
			field := e.AsSelect().FieldName()
			if field != "output" && field != "error" {
				w.refuse(e, "a step has only an output and an error here; write steps."+id+".output")
			}
			w.steps = append(w.steps, stepReference{
				id: id, failure: field == "error", strict: w.may == 0 && !e.AsSelect().IsTestOnly(), at: at,
			})
			return
		}
		w.walk(e.AsSelect().Operand())
	case ast.CallKind:
		if e.AsCall().IsMemberFunction() {
			w.walk(e.AsCall().Target())
		}
		w.args(e.AsCall())
	case ast.ListKind:
		for _, item := range e.AsList().Elements() {
			w.walk(item)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			w.walk(entry.AsMapEntry().Key())
			w.walk(entry.AsMapEntry().Value())
		}
	case ast.StructKind:
		w.refuse(e, "objects cannot be constructed by type; write a map {\"key\": value}")
	case ast.ComprehensionKind:
		w.comprehension(e, e.AsComprehension())
	}
}

// args walks those of a call. A conditional evaluates one of two, and of what a logical operator joins one may decide in
// spite of an error of the other.
func (w *walker) args(call ast.CallExpr) {
	for i, arg := range call.Args() {
		switch name := call.FunctionName(); {
		case name == operators.LogicalAnd, name == operators.LogicalOr, name == operators.Conditional && i > 0:
			w.maybe(arg)
		default:
			w.walk(arg)
		}
	}
}

// maybe walks what may not be evaluated.
func (w *walker) maybe(e ast.Expr) {
	w.may++
	w.walk(e)
	w.may--
}

func (w *walker) ident(e ast.Expr) {
	switch e.AsIdent() {
	case "input":
		w.input = true
	case "index":
		w.index = true
	case "steps":
		w.refuse(e, "write steps.ID.output, or steps[\"ID\"].output if the id is not an identifier")
	case "item":
		w.item = true
	case "last":
		w.last = true
	case "output":
		w.own = true
	}
}

func (w *walker) comprehension(e ast.Expr, c ast.ComprehensionExpr) {
	switch c.IterVar() {
	case "input", "steps", "item", "index":
		w.refuse(e, "the variable "+c.IterVar()+" hides the workflow's own; choose another name")
	}
	switch w.ast.GetType(c.IterRange().ID()).Kind() {
	case types.ListKind, types.DynKind:
	default:
		w.refuse(e, listsOnly)
	}
	w.walk(c.IterRange())
	for _, part := range []ast.Expr{c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()} {
		w.maybe(part)
	}
}

// stepOf recognizes steps.ID and steps["ID"].
func stepOf(e ast.Expr) (id string, at int64, ok bool) {
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		return s.FieldName(), e.ID(), !s.IsTestOnly() && isSteps(s.Operand())
	case ast.CallKind:
		c := e.AsCall()
		if c.FunctionName() != operators.Index || len(c.Args()) != 2 || !isSteps(c.Args()[0]) || c.Args()[1].Kind() != ast.LiteralKind {
			return "", 0, false
		}
		name, ok := c.Args()[1].AsLiteral().(types.String)
		return string(name), e.ID(), ok
	}
	return "", 0, false
}

func isSteps(e ast.Expr) bool { return e.Kind() == ast.IdentKind && e.AsIdent() == "steps" }
