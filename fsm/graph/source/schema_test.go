package source_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/lockstep-dev/lockstep/fsm/graph/source"
)

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(source.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("workflow.json", value); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("workflow.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fits says whether a source fits the schema; an error says why not.
func fits(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(plain)
}

// The schema refuses nothing that Parse takes: neither in the tests' sources nor in the examples, nor their canonical forms.
func TestSchemaTakesWhatParseTakes(t *testing.T) {
	s := compiledSchema(t)
	seen := 0
	take := func(text, format string) {
		d, err := source.Parse([]byte(text), format)
		if err != nil {
			return
		}
		seen++
		for _, form := range []string{text, string(d.Canonical)} {
			if err := fits(t, s, form); err != nil {
				t.Errorf("%v\n%s", err, form)
			}
		}
	}
	datadriven.Walk(t, "testdata/parse", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			take(d.Input, d.Cmd)
			return d.Expected
		})
	})
	examples, err := filepath.Glob("../../../examples/*/workflow.yaml")
	if err != nil || len(examples) < 3 {
		t.Fatal(examples, err)
	}
	for _, path := range examples {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		take(string(text), "yaml")
	}
	if seen < 10 {
		t.Errorf("%d sources were taken: the test sees nothing", seen)
	}
}

// What has the wrong shape is refused by both, so that an editor shows it.
func TestSchemaRefusesWrongShapes(t *testing.T) {
	s := compiledSchema(t)
	for _, text := range []string{
		"{}", "workflow: w", "workflow: w\nsteps: {}", "workflow: ''\nsteps: {a: }", "workflow: w\nsteps: {a: }\ncolor: red", "workflow: w\nversion: 0\nsteps: {a: }",
		"workflow: w\nsteps: {a: {need: [b]}}", "workflow: w\nsteps: {a: {}, b: {needs: a}}", "workflow: w\nsteps: {a: {join: most}}",
		"workflow: w\nsteps: {a: {}, b: {needs: [a], join: {atLeast: 0}}}", "workflow: w\nsteps: {a: {timeouts: {run: 5}}}",
		"workflow: w\nsteps: {a: {timeouts: {run: 5 minutes}}}", "workflow: w\nsteps: {a: {retry: {attempts: 0}}}", "workflow: w\nsteps: {a: {signal: s}}",
		"workflow: w\nsteps: {a: {signal: {name: s}, queue: q}}", "workflow: w\nsteps: {a: {signal: {name: s}, timeouts: {run: 1s}}}",
		"workflow: w\nsteps: {a: {locks: [{name: x, take: 2}]}}", "workflow: w\nsteps: {a: {locks: [{shared: true}]}}", "workflow: w\nsteps: [{needs: []}]",
		"workflow: w\nsteps: {a: {forEach: x}}", "workflow: w\nsteps: {a: {priority: high}}", "workflow: w\nsteps: {a: {when: ''}}",
		"workflow: w\nsteps: {a: {compensate: undo}}", "workflow: w\nsteps: {a: {compensate: {needs: [a]}}}", "workflow: w\nsteps: {a: {signal: {name: s}, compensate: {}}}",
		"workflow: w\ncompensation: reverse\nsteps: {a: {compensate: {}}}", "workflow: w\nsteps: {a: {compensate: {retry: {attempts: 0}}}}",
		"workflow: w\ntimeouts: {run: 1h}\nsteps: {a: }", "workflow: w\nsteps: {a: {timer: {}}}", "workflow: w\nsteps: {a: {timer: {after: 5}}}",
		"workflow: w\nsteps: {a: {timer: {after: 5m, until: x}}}", "workflow: w\nsteps: {a: {timer: {after: 5m}, timeouts: {total: 1h}}}",
		"workflow: w\nsteps: {a: {approval: boss}}", "workflow: w\nsteps: {a: {approval: {}, queue: q}}", "workflow: w\nsteps: {a: {approval: {}, signal: {name: s}}}",
		"workflow: w\nsteps: {a: {timer: {after: 5m}, compensate: {}}}", "workflow: w\nsteps: {a: {approval: {}, compensate: {}}}",
		"workflow: w\nsteps: {a: {approval: {}}, b: {approval: {}}, c: {race: [a, b], needs: [a]}}", "workflow: w\nsteps: {a: {approval: {}}, b: {race: [a]}}",
		"workflow: w\nsteps: {a: {limits: [x]}}", "workflow: w\nsteps: {a: {limits: [{key: x, limit: 1}]}}", "workflow: w\nsteps: {a: {limits: [{key: x, limit: 0, per: 1s}]}}",
		"workflow: w\nsteps: {a: {limits: [{key: '', limit: 1, per: 1s}]}}", "workflow: w\nsteps: {a: {limits: [{key: x, limit: 1, per: 1}]}}", "workflow: w\nsteps: {a: {approval: {}, limits: []}}",
		"workflow: w\nsteps: {a: {fairness: x}}", "workflow: w\nsteps: {a: {fairness: {weight: 2}}}", "workflow: w\nsteps: {a: {fairness: {key: x, weight: 0}}}",
		"workflow: w\nsteps: {a: {fairness: {key: ''}}}", "workflow: w\nsteps: {a: {approval: {}, fairness: {key: x}}}", "workflow: w\nsteps: {a: {fairness: {key: x, wight: 2}}}",
		"workflow: w\nsteps: {a: {await: {key: {a: x, b: y}}}}", "workflow: w\nsteps: {a: {await: {key: {a: x}, instance: i}}}", "workflow: w\nsteps: {a: {await: {key: {a: x}, of: most}}}",
		"workflow: w\nsteps: {a: {await: {key: {a: x}, of: {atLeast: 101}}}}", "workflow: w\nsteps: {a: {await: {instance: i, of: all}}}", "workflow: w\nsteps: {a: {await: {key: {a: ''}}}}",
		"workflow: w\nsteps: {a: {keys: {}}}", "workflow: w\nsteps: {a: {keys: {a: 7}}}", "workflow: w\nsteps: {a: {approval: {}, keys: {a: x}}}", "workflow: w\nsteps: {a: {await: {key: {}}}}",
	} {
		if _, err := source.Parse([]byte(text), "yaml"); err == nil {
			t.Errorf("Parse takes %s", text)
		}
		if err := fits(t, s, text); err == nil {
			t.Errorf("the schema takes %s", text)
		}
	}
}

// docs/workflows.md explains every key of the language.
func TestEveryKeyIsExplained(t *testing.T) {
	page, err := os.ReadFile("../../../docs/workflows.md")
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Properties map[string]any
		Defs       map[string]struct{ Properties map[string]any } `json:"$defs"`
	}
	if err := json.Unmarshal(source.Schema(), &all); err != nil {
		t.Fatal(err)
	}
	keys := all.Properties
	for _, def := range all.Defs {
		for key := range def.Properties {
			keys[key] = nil
		}
	}
	if len(keys) < 15 {
		t.Errorf("the schema has %d keys: the test sees nothing", len(keys))
	}
	for key := range keys {
		if !strings.Contains(string(page), "`"+key+"`") {
			t.Errorf("docs/workflows.md does not explain %s", key)
		}
	}
}

// The workflows that the documents show are taken as they stand.
func TestDocumentedWorkflowsAreTaken(t *testing.T) {
	s := compiledSchema(t)
	for _, path := range []string{"../../../README.md", "../../../docs/workflows.md"} {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		blocks := strings.Split(string(page), "```yaml\n")[1:]
		if len(blocks) == 0 {
			t.Errorf("%s shows no workflow", path)
		}
		for _, block := range blocks {
			text, _, _ := strings.Cut(block, "```")
			if _, err := source.Parse([]byte(text), "yaml"); err != nil {
				t.Errorf("%s: %v\n%s", path, err, text)
			}
			if err := fits(t, s, text); err != nil {
				t.Errorf("%s: %v\n%s", path, err, text)
			}
		}
	}
}
