package lockstep

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/refusals.md")

const refusalsPage = "docs/refusals.md"

// docs/refusals.md lists every refusal that a user can meet: it is generated from the code, and this fails when it is not
// what the code says. go test . -run TestRefusalsAreListed -update writes it.
func TestRefusalsAreListed(t *testing.T) {
	codes := refusalCodes(t)
	said := refusalSentences(t)
	for _, c := range codes {
		switch {
		case c.meaning == "" || c.next == "":
			t.Errorf("proto/lockstep/v1/common.proto: CODE_%s does not say what it means and what to do next", c.name)
		case len(said[c.name]) == 0:
			t.Errorf("nothing refuses with CODE_%s", c.name)
		}
		delete(said, c.name)
	}
	for name := range said {
		t.Errorf("CODE_%s is no code", name)
	}
	page := refusalPage(codes, refusalSentences(t), refusalStatus(t))
	if *update {
		if err := os.WriteFile(refusalsPage, page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if old, err := os.ReadFile(refusalsPage); err != nil || !bytes.Equal(old, page) {
		t.Errorf("%s is stale: go test . -run TestRefusalsAreListed -update (%v)", refusalsPage, err)
	}
}

type refusalCode struct{ name, meaning, next string }

// refusalCodes reads the enum with its comments.
func refusalCodes(t *testing.T) (codes []refusalCode) {
	source, err := os.ReadFile("proto/lockstep/v1/common.proto")
	if err != nil {
		t.Fatal(err)
	}
	_, enum, _ := strings.Cut(string(source), "enum Code {")
	enum, _, _ = strings.Cut(enum, "\n}")
	value := regexp.MustCompile(`^CODE_(\w+) = \d+;$`)
	var c refusalCode
	field := &c.meaning
	for line := range strings.Lines(enum) {
		line = strings.TrimSpace(line)
		if comment, ok := strings.CutPrefix(line, "// "); ok {
			if next, ok := strings.CutPrefix(comment, "Next: "); ok {
				field, comment = &c.next, next
			}
			*field = strings.TrimSpace(*field + " " + comment)
			continue
		}
		if m := value.FindStringSubmatch(line); m != nil {
			if c.name = m[1]; c.name != "UNSPECIFIED" {
				codes = append(codes, c)
			}
			c, field = refusalCode{}, &c.meaning
		}
	}
	if len(codes) < 30 {
		t.Fatalf("the enum has %d codes: the test sees nothing", len(codes))
	}
	return codes
}

// refusalSentences finds what each code is said with: the formats of Refuse, and of invalid in transport/api.
func refusalSentences(t *testing.T) map[string][]string {
	said := map[string][]string{}
	for _, dir := range []string{"fsm", "cluster", "transport/api"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					if code, format, ok := refuses(call); ok {
						said[code] = append(said[code], sentence(format))
					}
				}
				return true
			})
		}
	}
	for code, list := range said {
		slices.Sort(list)
		said[code] = slices.Compact(list)
	}
	return said
}

// refuses tells what a call refuses with.
func refuses(call *ast.CallExpr) (code, format string, ok bool) {
	name := ""
	switch fn := call.Fun.(type) {
	case *ast.Ident:
		name = fn.Name
	case *ast.SelectorExpr:
		name = fn.Sel.Name
	}
	args := call.Args
	switch {
	case name == "invalid" && len(args) > 0:
		code = "INVALID"
	case name == "Refuse" && len(args) > 1:
		constant, isConstant := args[0].(*ast.SelectorExpr)
		if !isConstant {
			return "", "", false
		}
		code, args = strings.TrimPrefix(constant.Sel.Name, "Code_CODE_"), args[1:]
	default:
		return "", "", false
	}
	literal, isLiteral := args[0].(*ast.BasicLit)
	if !isLiteral {
		return "", "", false
	}
	format, err := strconv.Unquote(literal.Value)
	return code, format, err == nil
}

var verb = regexp.MustCompile(`%[a-z]`)

// sentence is a format for people: what is filled in is an ellipsis.
func sentence(format string) string { return verb.ReplaceAllString(format, "…") }

// refusalStatus reads the table of transport/api/codes.go.
func refusalStatus(t *testing.T) map[string]string {
	source, err := os.ReadFile("transport/api/codes.go")
	if err != nil {
		t.Fatal(err)
	}
	status := map[string]string{}
	for _, m := range regexp.MustCompile(`Code_CODE_(\w+): +connect\.Code(\w+),`).FindAllSubmatch(source, -1) {
		words := regexp.MustCompile(`[A-Z][a-z]+`).FindAllString(string(m[2]), -1)
		status[string(m[1])] = strings.ToLower(strings.Join(words, "_"))
	}
	return status
}

func refusalPage(codes []refusalCode, said map[string][]string, status map[string]string) []byte {
	var b bytes.Buffer
	b.WriteString("# Refusals\n\nEvery expected \"no\" of the API, generated from the code (`go test . -run TestRefusalsAreListed -update`). A refusal is a Connect\n" +
		"error with a `lockstep.v1.Refusal` detail: its code, a sentence, and what stands in the way. The command line prints both and ends with\nstatus 1. In the sentences … is filled in.\n\n" +
		"| code | on the wire | what it means | what to do next |\n|---|---|---|---|\n")
	for _, c := range codes {
		fmt.Fprintf(&b, "| [%s](#%s) | `%s` | %s | %s |\n", c.name, strings.ToLower(c.name), status[c.name], c.meaning, c.next)
	}
	b.WriteString("\n# Sentences\n")
	for _, c := range codes {
		fmt.Fprintf(&b, "\n## %s\n\n", c.name)
		for _, s := range said[c.name] {
			if s == "…" {
				s = "(the sentence says what is wrong, and where)"
			}
			fmt.Fprintf(&b, "- %s\n", strings.ReplaceAll(s, "|", `\|`))
		}
	}
	return b.Bytes()
}
