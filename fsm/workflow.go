package fsm

import (
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lockstep-dev/lockstep/fsm/graph"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// workflow has the versions of a definition, oldest first.
type workflow struct{ versions []*version }

// version is a definition, immutable once registered.
type version struct {
	rec   *logv1.Workflow
	use   *logv1.VersionUse // see drain.go
	dirty bool

	once  sync.Once // guards what follows: compiled at the first use, which may be a read
	graph *graph.Graph
	nodes map[string]int32
}

func (ns *namespace) addVersion(rec *logv1.Workflow) {
	w := ns.workflows[rec.Workflow]
	if w == nil {
		w = &workflow{}
		ns.workflows[rec.Workflow] = w
		ns.flows = insertSorted(ns.flows, rec.Workflow)
	}
	at := len(w.versions)
	for at > 0 && w.versions[at-1].rec.Version > rec.Version {
		at--
	}
	w.versions = append(w.versions, nil)
	copy(w.versions[at+1:], w.versions[at:])
	w.versions[at] = &version{rec: rec, use: &logv1.VersionUse{}}
}

// version finds a version of a workflow; zero is the newest.
func (ns *namespace) version(name string, number int32) (*version, *Refusal) {
	w := ns.workflows[name]
	if w == nil {
		return nil, Refuse(v1.Code_CODE_WORKFLOW_NOT_FOUND, "there is no workflow %q in namespace %s; register it first", name, ns.rec.Namespace)
	}
	if number == 0 {
		return w.versions[len(w.versions)-1], nil
	}
	for _, v := range w.versions {
		if v.rec.Version == number {
			return v, nil
		}
	}
	return nil, Refuse(v1.Code_CODE_WORKFLOW_NOT_FOUND, "workflow %q has no version %d; the newest is %d", name, number, w.versions[len(w.versions)-1].rec.Version)
}

// compiled returns the graph. A definition was compiled before it was proposed, so failing here is a bug.
func (v *version) compiled() *graph.Graph {
	v.once.Do(func() {
		g, err := graph.Compile(v.rec.Graph)
		if err != nil {
			panic(fmt.Sprintf("fsm: workflow %s version %d was registered and does not compile: %v", v.rec.Workflow, v.rec.Version, err))
		}
		v.graph, v.nodes = g, make(map[string]int32, len(g.Nodes))
		for node := range g.Nodes {
			v.nodes[g.Nodes[node].ID] = int32(node)
		}
	})
	return v.graph
}

func (t *turn) registerWorkflow(r *logv1.RegisterWorkflow) (proto.Message, *Refusal) {
	g, err := graph.Compile(r.Graph)
	if err != nil || definitionLevel(g) > t.m.group.Level || g.Digest != r.Digest || g.Name != r.Workflow {
		return nil, Refuse(v1.Code_CODE_WORKFLOW_INVALID, "the definition of workflow %q does not compile, or is not what its digest says", r.Workflow)
	}
	number := r.Version
	if w := t.ns.workflows[r.Workflow]; w != nil {
		for _, v := range w.versions {
			same := v.rec.Digest == r.Digest
			if same && (number == 0 || number == v.rec.Version) {
				return v.reply(t.ns), nil
			}
			if !same && number == v.rec.Version {
				return nil, Refuse(v1.Code_CODE_WORKFLOW_CONFLICT, "version %d of workflow %q is registered with another definition; leave the version out to register the next", number, r.Workflow)
			}
		}
		if number == 0 {
			number = w.versions[len(w.versions)-1].rec.Version + 1
		}
	}
	if number == 0 {
		number = 1
	}
	t.emit(&workflowRegistered{&logv1.Workflow{
		Workflow: r.Workflow, Version: number, Digest: r.Digest, Graph: r.Graph, Source: r.Source, Format: r.Format,
		RegisteredWall: t.wall(), Steps: int32(g.Steps()),
	}})
	v, _ := t.ns.version(r.Workflow, number)
	return v.reply(t.ns), nil
}

func (v *version) reply(ns *namespace) *v1.Workflow {
	return &v1.Workflow{
		Namespace: ns.rec.Namespace, Workflow: v.rec.Workflow, Version: v.rec.Version, Digest: v.rec.Digest,
		Registered: stamp(v.rec.RegisteredWall), Steps: v.rec.Steps, Format: v.rec.Format,
		Drained: v.use.Drained, DrainedAt: stamp(v.use.DrainedWall), Reason: v.use.Reason, LiveInstances: v.use.Live,
	}
}

// GetWorkflow returns a version with its source and canonical definition.
func (m *Machine) GetWorkflow(r *v1.GetWorkflowRequest) (*v1.Workflow, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, refusal
	}
	v, refusal := ns.version(r.Workflow, r.Version)
	if refusal != nil {
		return nil, refusal
	}
	out := v.reply(ns)
	out.Source = string(v.rec.Source)
	out.Definition = &structpb.Struct{}
	if err := out.Definition.UnmarshalJSON(v.rec.Graph); err != nil {
		return nil, fmt.Errorf("read definition of %s: %w", r.Workflow, err)
	}
	return out, nil
}

// ListWorkflows lists every version of every workflow, by name.
func (m *Machine) ListWorkflows(r *v1.ListWorkflowsRequest) (*v1.ListWorkflowsResponse, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, refusal
	}
	out := &v1.ListWorkflowsResponse{}
	for _, name := range ns.flows {
		if name <= r.Page {
			continue
		}
		if len(out.Workflows) >= pageLimit(r.Limit) {
			out.NextPage = out.Workflows[len(out.Workflows)-1].Workflow
			break
		}
		for _, v := range ns.workflows[name].versions {
			out.Workflows = append(out.Workflows, v.reply(ns))
		}
	}
	return out, nil
}

type workflowRegistered struct{ rec *logv1.Workflow }

func (e *workflowRegistered) kind() string { return "lockstep.workflow.registered.v1" }
func (e *workflowRegistered) fill(d *v1.EventData) string {
	d.Workflow, d.Version, d.Code = e.rec.Workflow, e.rec.Version, e.rec.Digest
	return "workflow/" + e.rec.Workflow
}
func (e *workflowRegistered) evolve(t *turn) {
	t.ns.addVersion(e.rec)
	t.m.dirty.workflows = append(t.m.dirty.workflows, workflowRow{t.ns.rec.Namespace, e.rec})
	t.m.dirtyBytes += len(e.rec.Graph) + len(e.rec.Source)
}
