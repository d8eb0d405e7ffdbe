package lockstep

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
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
