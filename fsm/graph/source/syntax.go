package source

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
)

// refuseSyntax places an error of the YAML library. The library knows the line, but not always says so: its scanner
// counts from one and its parser from zero, and the first line goes without saying.
func (t *tree) refuseSyntax(err error) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	if name, ok := strings.CutPrefix(message, "unknown anchor '"); ok {
		name, _, _ = strings.Cut(name, "'")
		line, column := lineColumn(t.src, max(0, bytes.Index(t.src, []byte("*"+name))))
		t.refuse(line, column, "", "there is no anchor &"+name+" above; define it or write the value")
		return
	}
	line := 0
	if found := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(message); found != nil {
		line, _ = strconv.Atoi(found[1])
		message = message[len(found[0]):]
	}
	if fromParser(message) || line == 0 {
		line++
	}
	last, _ := lineColumn(t.src, len(t.src))
	line = min(line, last)
	text := t.line(line)
	column := len(text) - len(strings.TrimLeft(text, " \t")) + 1
	t.refuse(line, column, "", "not valid YAML: "+message+"; check the indentation, brackets and quotes from here on")
}

// fromParser tells the parser's sentences from the scanner's.
func fromParser(message string) bool {
	for _, what := range []string{"<stream-start>", "<document start>", "node content", "'-' indicator", "key", "',' or ']'", "',' or '}'"} {
		if message == "did not find expected "+what {
			return true
		}
	}
	return false
}
