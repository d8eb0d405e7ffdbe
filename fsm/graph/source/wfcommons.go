package source

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// WfCommonsOptions says how an execution becomes a workflow.
type WfCommonsOptions struct {
	// Name is the workflow's; empty means the execution's own.
	Name string
	// Queue is where all steps go; empty means the default queue.
	Queue string
	// CriticalPath scales the recorded run times so that the longest path of them takes so many seconds; zero keeps
	// them.
	CriticalPath float64
}

// WfCommons turns an execution in WfFormat 1.5 or 1.6 (https://wfcommons.org) into a workflow source, in YAML, of its
// real tasks and dependencies. Each step's input is a literal, made for a worker that replays the task:
//
//	id              the task's
//	runtimeSeconds  as recorded
//	waitSeconds     the same, scaled
//	parents         the tasks it depends on
//	reads           the files that its parents wrote and it reads: if one is missing, order was violated
//	outputs         the files that it writes
//
// The source is for Parse to check.
func WfCommons(raw []byte, options WfCommonsOptions) ([]byte, error) {
	var file wfFile
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("read WfFormat: %w", err)
	}
	if v := file.SchemaVersion; v != "1.5" && v != "1.6" { // 1.6 adds only what is optional
		return nil, fmt.Errorf("read WfFormat: schemaVersion is %q; 1.5 and 1.6 are known", v)
	}
	tasks, err := file.tasks()
	if err != nil {
		return nil, fmt.Errorf("read WfFormat: %w", err)
	}
	longest, err := criticalPath(tasks)
	if err != nil {
		return nil, fmt.Errorf("read WfFormat: %w", err)
	}
	scale := 1.0
	if options.CriticalPath > 0 && longest > 0 {
		scale = options.CriticalPath / longest
	}
	if options.Name == "" {
		options.Name = file.Name
	}
	return writeTasks(tasks, options, scale), nil
}

// wfFile is what of WfFormat matters here.
type wfFile struct {
	Name          string `json:"name"`
	SchemaVersion string `json:"schemaVersion"`
	Workflow      struct {
		Specification struct {
			Tasks []wfTask `json:"tasks"`
		} `json:"specification"`
		Execution struct {
			Tasks []struct {
				ID      string  `json:"id"`
				Runtime float64 `json:"runtimeInSeconds"`
			} `json:"tasks"`
		} `json:"execution"`
	} `json:"workflow"`
}

type wfTask struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Parents     []string `json:"parents"`
	Children    []string `json:"children"`
	InputFiles  []string `json:"inputFiles"`
	OutputFiles []string `json:"outputFiles"`

	runtime float64
	parents []*wfTask
}

// tasks joins specification and execution. A dependency counts whichever end of it is recorded.
func (f *wfFile) tasks() ([]*wfTask, error) {
	list := make([]*wfTask, len(f.Workflow.Specification.Tasks))
	byID := map[string]*wfTask{}
	for i := range list {
		task := &f.Workflow.Specification.Tasks[i]
		if byID[task.ID] != nil {
			return nil, fmt.Errorf("there are two tasks %q", task.ID)
		}
		list[i], byID[task.ID] = task, task
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("there are no tasks")
	}
	for _, run := range f.Workflow.Execution.Tasks {
		if task := byID[run.ID]; task != nil {
			task.runtime = max(0, run.Runtime)
		}
	}
	for _, task := range list {
		for _, id := range task.Parents {
			if err := depend(task, byID[id], id); err != nil {
				return nil, err
			}
		}
		for _, id := range task.Children {
			if byID[id] == nil {
				return nil, fmt.Errorf("task %q has an unknown child %q", task.ID, id)
			}
			if err := depend(byID[id], task, task.ID); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

func depend(task, parent *wfTask, id string) error {
	if parent == nil {
		return fmt.Errorf("task %q has an unknown parent %q", task.ID, id)
	}
	if !slices.Contains(task.parents, parent) {
		task.parents = append(task.parents, parent)
	}
	return nil
}

// criticalPath is the longest path's run time, in seconds.
func criticalPath(tasks []*wfTask) (float64, error) {
	ends := map[*wfTask]float64{}
	const open = -1
	var end func(*wfTask) (float64, error)
	end = func(t *wfTask) (float64, error) {
		if e, seen := ends[t]; seen {
			if e == open {
				return 0, fmt.Errorf("task %q depends on itself", t.ID)
			}
			return e, nil
		}
		ends[t] = open
		start := 0.0
		for _, p := range t.parents {
			e, err := end(p)
			if err != nil {
				return 0, err
			}
			start = max(start, e)
		}
		ends[t] = start + t.runtime
		return ends[t], nil
	}
	longest := 0.0
	for _, t := range tasks {
		e, err := end(t)
		if err != nil {
			return 0, err
		}
		longest = max(longest, e)
	}
	return longest, nil
}

// wfInput is a step's input; its fields are told at WfCommons.
type wfInput struct {
	ID             string   `json:"id"`
	RuntimeSeconds float64  `json:"runtimeSeconds"`
	WaitSeconds    float64  `json:"waitSeconds"`
	Parents        []string `json:"parents"`
	Reads          []string `json:"reads"`
	Outputs        []string `json:"outputs"`
}

func writeTasks(tasks []*wfTask, options WfCommonsOptions, scale float64) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "workflow: %s\nsteps:\n", quoted(options.Name))
	for _, t := range tasks {
		in := wfInput{
			ID: literal(t.ID), RuntimeSeconds: t.runtime, WaitSeconds: math.Round(t.runtime*scale*1e6) / 1e6,
			Parents: []string{}, Reads: []string{}, Outputs: literals(t.OutputFiles),
		}
		for _, p := range t.parents {
			in.Parents = append(in.Parents, literal(p.ID))
			for _, file := range p.OutputFiles {
				if slices.Contains(t.InputFiles, file) && !slices.Contains(in.Reads, literal(file)) {
					in.Reads = append(in.Reads, literal(file))
				}
			}
		}
		fmt.Fprintf(&out, "  %s:\n    task: %s\n", quoted(t.ID), quoted(t.kind()))
		if options.Queue != "" {
			fmt.Fprintf(&out, "    queue: %s\n", quoted(options.Queue))
		}
		if len(t.parents) > 0 {
			ids := make([]string, len(t.parents))
			for i, p := range t.parents {
				ids[i] = p.ID
			}
			fmt.Fprintf(&out, "    needs: %s\n", quoted(ids))
		}
		fmt.Fprintf(&out, "    input: %s\n", quoted(in))
	}
	return out.Bytes()
}

// kind is the task's name without the number of this one: mProject_ID0000001 is a mProject.
func (t *wfTask) kind() string {
	name := strings.TrimRight(t.Name, "0123456789")
	name = strings.TrimSuffix(name, "ID")
	if name = strings.TrimRight(name, "_-"); name == "" {
		return t.ID
	}
	return name
}

// literal is a text in which nothing is an expression.
func literal(s string) string { return strings.ReplaceAll(s, "${", "$${") }

func literals(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = literal(s)
	}
	return out
}

// quoted is a value in JSON, which is YAML too.
func quoted(v any) string {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // strings and finite numbers cannot fail
		panic(err)
	}
	return strings.TrimSuffix(out.String(), "\n")
}
