package source

import (
	"fmt"
	"strings"
)

// maxErrors is how many errors one Parse reports.
const maxErrors = 10

// Error is one thing that is wrong with a source.
type Error struct {
	Line, Column int    // from 1; columns count characters
	Path         string // where in the definition: steps.charge.when; empty for the whole
	Message      string // what is wrong, and what to do about it
	Unsupported  bool   // the language has it, this version does not run it
}

// Error is the line that compilers print.
func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message)
	}
	return fmt.Sprintf("%d:%d: %s: %s", e.Line, e.Column, e.Path, e.Message)
}

// Errors are the first ten errors of a source, never none.
type Errors []*Error

// Error has a line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes errors.As find the first *Error.
func (e Errors) Unwrap() []error {
	list := make([]error, len(e))
	for i := range e {
		list[i] = e[i]
	}
	return list
}

// Unsupported says whether a later version may take the source as it is.
func (e Errors) Unsupported() bool {
	for _, one := range e {
		if !one.Unsupported {
			return false
		}
	}
	return true
}
