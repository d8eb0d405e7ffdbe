// Package source reads workflow definitions as people write them, in YAML or JSON, and refuses what is
// wrong with them by line and column. Everything is checked here, before a definition is proposed.
//
// A step's input defaults to the workflow's input. Strings other than when, names and keys may contain
// ${CEL}; a string that is one ${CEL} has the value's type, any other is text, in which numbers are spelled as
// in JSON: integral ones as integers, others in the shortest form that reads back. $${ is a literal ${.
//
//	workflow: order-fulfilment
//	steps:
//	  reserve: {queue: inventory}
//	  charge:
//	    needs: [reserve]
//	    input: {amount: "${input.amount}", hold: "${steps.reserve.output.hold}"}
//	    locks: ["customer/${input.customer}"]
package source

import (
	"fmt"
	"unicode/utf8"

	"github.com/lockstep-dev/lockstep/fsm/graph"
)

// maxSource is how large a source may be, in bytes.
const maxSource = 512 << 10

// Definition is a checked workflow definition.
type Definition struct {
	Name string
	// Version is what the source asks for; zero means the next one. It is not part of the canonical form.
	Version int32
	// Canonical is the definition's one JSON form: see graph.Definition.Canonical. It is itself a source.
	Canonical []byte
	// Digest is the SHA-256 of Canonical, hex.
	Digest string
	Steps  int
	// Checked is what it was found to mean.
	Checked *graph.Checked

	tree *tree
}

// Line is the line, from 1, on which a part of the definition stands, by its path: steps.charge.when. Of what the source does not spell it
// is that of the nearest part around.
func (d *Definition) Line(path string) int {
	line, _ := d.tree.locate(graph.Problem{Path: path, Key: true})
	return line
}

// Parse reads a source; format is "yaml" or "json". What is wrong with the source is an Errors.
func Parse(src []byte, format string) (*Definition, error) {
	if len(src) > maxSource {
		return nil, Errors{{Line: 1, Column: 1, Message: fmt.Sprintf("the source has %d bytes; at most %d are allowed", len(src), maxSource)}}
	}
	if at := invalidUTF8(src); at >= 0 {
		line, column := lineColumn(src, at)
		return nil, Errors{{Line: line, Column: column, Message: "this byte is not valid UTF-8; save the file as UTF-8"}}
	}
	t := newTree(src)
	var value any
	switch format {
	case "yaml":
		value = t.yaml()
	case "json":
		value = t.json()
	default:
		return nil, fmt.Errorf("parse source: format %q is neither yaml nor json", format)
	}
	if len(t.errors) > 0 {
		return nil, t.errors
	}
	return t.definition(value)
}

func (t *tree) definition(value any) (*Definition, error) {
	d, problems := graph.Read(value)
	if len(problems) > 0 {
		return nil, t.located(problems)
	}
	checked, problems := graph.Examine(d)
	if len(problems) > 0 {
		return nil, t.located(problems)
	}
	return &Definition{
		Name: d.Workflow, Version: d.Version, Canonical: checked.Canonical, Digest: checked.Graph.Digest, Steps: d.Count(), Checked: checked, tree: t,
	}, nil
}

func invalidUTF8(src []byte) int {
	for at := 0; at < len(src); {
		r, size := utf8.DecodeRune(src[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return -1
}
