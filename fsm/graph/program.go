package graph

import (
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// program is a compiled expression. It is immutable.
type program struct {
	cel.Program
	references
}

// language compiles the expressions of one definition.
type language struct {
	env   *cel.Env
	dates *cel.Env // env with dates in it, once it was asked for
	keys  *cel.Env // and with a step's own output
	input *shape
}

func newLanguage(schema any) (*language, error) {
	input := shapeOf(schema, "input", 0)
	env, err := newEnvironment(input)
	if err != nil {
		return nil, err
	}
	return &language{env: env, input: input}, nil
}

// environment is what an expression of some use may say.
func (l *language) environment(use use) (*cel.Env, error) {
	var err error
	switch {
	case use == asKey && l.keys == nil:
		l.keys, err = l.env.Extend(cel.Variable("output", cel.DynType))
		return l.keys, err
	case use == asKey:
		return l.keys, nil
	case use != asDate:
		return l.env, nil
	case l.dates == nil:
		l.dates, err = l.env.Extend(dateFunctions()...)
	}
	return l.dates, err
}

// checked is an expression that parses and whose types fit.
type checked struct {
	ast *cel.Ast
	references
}

// check parses an expression and checks its types; problems carry offsets into its text.
func (l *language) check(text string, use use) (checked, []Problem) {
	env, err := l.environment(use)
	if err != nil {
		return checked{}, []Problem{{Message: "dates cannot be computed: " + err.Error()}}
	}
	ast, issues := env.Compile(text)
	if issues != nil && len(issues.Errors()) > 0 {
		return checked{}, issueProblems(text, issues)
	}
	refs, faults := referencesOf(ast.NativeRep())
	if why := misfit(ast.OutputType(), use); why != "" {
		faults = append(faults, fault{message: why})
	}
	var problems []Problem
	for _, f := range faults {
		problems = append(problems, Problem{Offset: nodeOffset(text, ast, f.at), Message: f.message, Unsupported: f.unsupported})
	}
	return checked{ast: ast, references: refs}, problems
}

func (l *language) program(c checked, use use) (*program, error) {
	env, err := l.environment(use)
	if err != nil {
		return nil, err
	}
	p, err := env.Program(c.ast, cel.CostLimit(maxCost), cel.CostTracking(price{}))
	if err != nil {
		return nil, err
	}
	c.own = c.own && use == asKey // elsewhere it is a variable of a comprehension
	return &program{Program: p, references: c.references}, nil
}

// misfit says why a type cannot be used so, or nothing. What is dynamic is checked at run time.
func misfit(t *cel.Type, use use) string {
	switch {
	case t.Kind() == types.DynKind:
		return ""
	case use == asDate && t.Kind() != types.StringKind && t.Kind() != types.TimestampKind:
		return "a date is a timestamp, or a string as RFC 3339 has it, but this is of type " + t.String()
	case use == asDate:
		return ""
	case use == asBool && t.Kind() != types.BoolKind:
		return "a condition must be true or false, but this is of type " + t.String()
	}
	switch t.Kind() {
	case types.BoolKind, types.IntKind, types.UintKind, types.DoubleKind, types.StringKind:
		return ""
	case types.NullTypeKind, types.ListKind, types.MapKind, types.StructKind:
		if use == asText || use == asKey {
			return "a value of type " + t.String() + " cannot stand inside a text; let the expression be the whole string, or name a field of it"
		}
		return ""
	}
	return "a value of type " + t.String() + " has no JSON form"
}

func issueProblems(text string, issues *cel.Issues) []Problem {
	var problems []Problem
	for _, issue := range issues.Errors() {
		line, column := issue.Location.Line(), issue.Location.Column()
		problems = append(problems, Problem{Offset: byteOffset(text, line, column), Message: plainMessage(issue.Message)})
	}
	return problems
}

// plainMessage makes a sentence of CEL's message.
func plainMessage(s string) string {
	if strings.Contains(s, "cannot be range of a comprehension") {
		return listsOnly
	}
	s, _, _ = strings.Cut(strings.TrimPrefix(s, "Syntax error: "), " expecting {")
	s = strings.ReplaceAll(strings.ReplaceAll(s, " (in container '')", ""), "'<EOF>'", "end of the expression")
	s = strings.ReplaceAll(s, listOnly, "list")
	if strings.HasSuffix(s, "'(double, int)'") || strings.HasSuffix(s, "'(int, double)'") {
		s += "; write 2.0 for 2, or convert with double() or int()"
	}
	return "the expression is not valid: " + shorten(strings.ReplaceAll(s, "\n", " "), 300)
}

// byteOffset finds a line (from 1) and a column in code points (from 0).
func byteOffset(text string, line, column int) int {
	at := 0
	for ; line > 1; line-- {
		newline := strings.IndexByte(text[at:], '\n')
		if newline < 0 {
			break
		}
		at += newline + 1
	}
	for i := range text[at:] {
		if column <= 0 {
			return at + i
		}
		column--
	}
	return len(text)
}

func nodeOffset(text string, a *cel.Ast, id int64) int {
	location := a.NativeRep().SourceInfo().GetStartLocation(id)
	return byteOffset(text, location.Line(), location.Column())
}

// isFalse says whether an expression is the literal false.
func isFalse(e ast.Expr) bool { return e.Kind() == ast.LiteralKind && e.AsLiteral() == types.False }
