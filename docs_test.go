package lockstep

import (
	"bytes"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A test that the documents name as proof must exist.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	var all bytes.Buffer
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		all.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	documents, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`")
	seen := 0
	for _, path := range append(documents, "README.md") {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllSubmatch(b, -1) {
			seen++
			if !bytes.Contains(all.Bytes(), []byte("func "+string(match[1])+"(")) {
				t.Errorf("%s names %s, which is not there", path, match[1])
			}
		}
	}
	if seen < 10 {
		t.Errorf("the documents name %d tests: the pattern sees nothing", seen)
	}
}

// Whoever links the client finds each public type at work, in an example that runs.
func TestPublicTypesHaveExamples(t *testing.T) {
	for _, dir := range []string{"client", "client/guard"} {
		types, examples := declared(t, dir)
		if len(types) < 5 {
			t.Errorf("%s has %d types: the test sees nothing", dir, len(types))
		}
		for _, name := range types {
			if !slices.ContainsFunc(examples, func(e string) bool { return e == "Example"+name || strings.HasPrefix(e, "Example"+name+"_") }) {
				t.Errorf("%s.%s has no Example%s with an output", dir, name, name)
			}
		}
	}
}

// declared lists a package's exported types, and its examples that run.
func declared(t *testing.T, dir string) (types, examples []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	for _, path := range paths {
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(path, "_test.go") {
			for _, e := range doc.Examples(file) {
				if e.Output != "" || e.EmptyOutput {
					examples = append(examples, "Example"+e.Name)
				}
			}
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.IsExported() {
				types = append(types, spec.Name.Name)
			}
			return true
		})
	}
	return types, examples
}
