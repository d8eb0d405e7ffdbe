package graph

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/parser"
)

const (
	// maxExpression is an expression's length in code points, maxRecursion how deep it nests.
	maxExpression = 4096
	maxRecursion  = 64
	// maxCost bounds one evaluation (a condition, a step's whole input, its locks, an output) in CEL's units
	// of cost.
	maxCost = 100_000
	// costModel pins what an operation costs, so that an upgrade of cel-go does not change it.
	costModel = 1
	// listOnly is the function that the list macros put around what they iterate over.
	listOnly = "@list"
)

// newEnvironment is the pinned subset of CEL. What it leaves out of the standard library depends on the
// host or on the Go release (time zones, regular expressions), has no JSON form (bytes, timestamps, durations,
// types), or is not deterministic: comprehensions over maps.
func newEnvironment(input *shape) (*cel.Env, error) {
	provider, err := newProvider(input)
	if err != nil {
		return nil, err
	}
	return cel.NewCustomEnv(
		cel.CustomTypeProvider(provider),
		cel.StdLib(cel.StdLibSubset(standardSubset())),
		cel.Macros(macros()...),
		cel.Variable("input", input.cel()),
		cel.Variable("steps", cel.MapType(cel.StringType, cel.MapType(cel.StringType, cel.DynType))),
		cel.Variable("item", cel.DynType),
		cel.Variable("last", cel.DynType),
		cel.Variable("index", cel.IntType),
		listFunction(),
		doubleText(),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ParserRecursionLimit(maxRecursion),
		cel.EnableIdentifierEscapeSyntax(),
		cel.CostModelVersion(costModel),
	)
}

func standardSubset() *env.LibrarySubset {
	subset := &env.LibrarySubset{DisableMacros: true}
	for _, name := range []string{
		"_&&_", "_||_", "!_", "_?_:_", "@not_strictly_false",
		"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in", "_[_]",
		"_+_", "_-_", "_*_", "_/_", "_%_", "-_",
		"size", "contains", "startsWith", "endsWith", "dyn", "double", "int",
	} {
		subset.IncludeFunctions = append(subset.IncludeFunctions, env.NewFunction(name))
	}
	subset.IncludeFunctions = append(subset.IncludeFunctions, env.NewFunction("string",
		env.NewOverload("string_to_string", nil, nil), env.NewOverload("bool_to_string", nil, nil),
		env.NewOverload("int64_to_string", nil, nil), env.NewOverload("uint64_to_string", nil, nil)))
	return subset
}

// doubleText makes string(2.5) spell doubles as ${2.5} does.
func doubleText() cel.EnvOption {
	return cel.Function("string", cel.Overload("double_to_text", []*cel.Type{cel.DoubleType}, cel.StringType,
		cel.UnaryBinding(func(v ref.Val) ref.Val {
			return types.String(appendFloat(nil, float64(v.(types.Double))))
		})))
}

// listFunction returns its argument if that is a list. It keeps the argument's type, so that the items of a dynamic
// list are dynamic; the walker refuses what cannot be a list.
func listFunction() cel.EnvOption {
	any := cel.TypeParamType("A")
	return cel.Function(listOnly, cel.Overload("list_only", []*cel.Type{any}, any,
		cel.UnaryBinding(func(v ref.Val) ref.Val {
			if _, ok := v.(traits.Lister); ok {
				return v
			}
			return types.MaybeNoSuchOverloadErr(v)
		})))
}

// macros are has() and the list macros of CEL, over lists only: a map has no order.
func macros() []cel.Macro {
	list := []cel.Macro{parser.HasMacro}
	for _, m := range []cel.Macro{
		parser.AllMacro, parser.ExistsMacro, parser.ExistsOneMacro, parser.ExistsOneMacroNew,
		parser.MapMacro, parser.MapFilterMacro, parser.FilterMacro,
	} {
		list = append(list, overList(m))
	}
	return list
}

func overList(m cel.Macro) cel.Macro {
	return cel.ReceiverMacro(m.Function(), m.ArgCount(),
		func(f cel.MacroExprFactory, target ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
			return m.Expander()(f, f.NewCall(listOnly, target), args)
		})
}
