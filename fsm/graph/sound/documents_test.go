package sound

import (
	"os"
	"regexp"
	"testing"
)

// Nothing is found wrong with the definitions that the documents show.
func TestDocumentsShowSoundWorkflows(t *testing.T) {
	shown := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	seen := 0
	for _, path := range []string{"../../../README.md", "../../../docs/workflows.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range shown.FindAllSubmatch(text, -1) {
			seen++
			if r := Check(parse(t, string(found[1])).Checked); r.Verdict != Sound {
				t.Errorf("%s: %s\n%s", path, found[1], say(r))
			}
		}
	}
	if seen < 4 {
		t.Errorf("there are %d: the pattern sees nothing", seen)
	}
}
