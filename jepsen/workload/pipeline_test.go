package workload

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestAPipelineWaitsForWhatItsFileSays(t *testing.T) {
	dir := t.TempDir()
	const file = `{"workflow": {"specification": {"tasks": [
		{"id": "a", "parents": [], "children": ["c"]}, {"id": "b", "parents": ["a"]}, {"id": "c", "parents": ["b"]}]}}}`
	if err := os.WriteFile(filepath.Join(dir, "p.json"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := Pipelines(dir)
	want := map[string][]string{"a": nil, "b": {"a"}, "c": {"a", "b"}}
	if err != nil || len(all) != 1 || !reflect.DeepEqual(all[0].Needs, want) {
		t.Errorf("pipelines %v, %v; want %v", all, err, want)
	}
	if _, err := Pipelines(t.TempDir()); err == nil {
		t.Error("a directory without pipelines has some")
	}
}
