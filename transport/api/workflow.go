package api

import (
	"context"
	"errors"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lockstep-dev/lockstep/fsm"
	"github.com/lockstep-dev/lockstep/fsm/graph/sound"
	"github.com/lockstep-dev/lockstep/fsm/graph/source"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// RegisterWorkflow checks a definition, and registers its canonical form. What is not sound is told, and refused is nothing by that:
// what was registered once is registered by the same call for ever.
func (s *service) RegisterWorkflow(ctx context.Context, r *connect.Request[v1.RegisterWorkflowRequest]) (*connect.Response[v1.Workflow], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.RegisterWorkflowRequest) (*v1.Workflow, error) {
		text, format, err := definition(r)
		if err != nil {
			return nil, err
		}
		d, err := source.Parse(text, format)
		if err != nil {
			return nil, refuseDefinition(err)
		}
		w, err := propose[*v1.Workflow](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_RegisterWorkflow{RegisterWorkflow: &logv1.RegisterWorkflow{
			Workflow: d.Name, Version: r.Version, Digest: d.Digest, Graph: d.Canonical, Source: text, Format: format,
		}}})
		if err == nil {
			w.Soundness = Soundness(sound.Check(d.Checked), d.Line)
		}
		return w, err
	})
}

// Soundness is what a check found, as clients are told; line is where a path of the definition stands in its source.
func Soundness(r *sound.Report, line func(path string) int) *v1.Soundness {
	out := &v1.Soundness{Verdict: v1.SoundnessVerdict(r.Verdict) + v1.SoundnessVerdict_SOUNDNESS_VERDICT_SOUND, States: int32(r.States)}
	if r.Verdict == sound.NotChecked {
		out.Step, out.Line = r.Step, int32(line(r.Path))
	}
	for _, f := range r.Findings {
		out.Findings = append(out.Findings, &v1.Finding{
			Code:   v1.FindingCode(v1.FindingCode_value["FINDING_CODE_"+string(f.Code)]),
			Always: f.Code.Always(), Step: f.Step, Sentence: f.Sentence, Witness: f.Witness, Line: int32(line(f.Path)),
		})
	}
	return out
}

func definition(r *v1.RegisterWorkflowRequest) (text []byte, format string, err error) {
	if err := version(r.Version); err != nil {
		return nil, "", err
	}
	switch {
	case r.Definition != nil && r.Source != "":
		return nil, "", invalid("give definition (JSON) or source (YAML), not both")
	case r.Definition != nil:
		format = "json"
		if !finite(structpb.NewStructValue(r.Definition)) {
			return nil, "", invalid("definition has a number that is none: JSON knows no infinity")
		}
		if text, err = canonical(r.Definition.AsMap()); err != nil {
			return nil, "", invalid("definition cannot be written as JSON: %v", err)
		}
	case r.Source != "":
		text, format = []byte(r.Source), "yaml"
	default:
		return nil, "", invalid("definition (JSON) or source (YAML) is missing")
	}
	if len(text) > maxDefinition {
		return nil, "", fsm.Refuse(v1.Code_CODE_PAYLOAD_TOO_LARGE, "the definition has %d bytes, the limit is %d", len(text), maxDefinition)
	}
	return text, format, nil
}

func refuseDefinition(err error) error {
	var problems source.Errors
	if errors.As(err, &problems) && problems.Unsupported() {
		return fsm.Refuse(v1.Code_CODE_UNSUPPORTED, "%v", err)
	}
	return fsm.Refuse(v1.Code_CODE_WORKFLOW_INVALID, "%v", err)
}

// GetWorkflow returns a version with its definition.
func (s *service) GetWorkflow(ctx context.Context, r *connect.Request[v1.GetWorkflowRequest]) (*connect.Response[v1.Workflow], error) {
	return read(s, ctx, r, func(r *v1.GetWorkflowRequest) error {
		if err := name("workflow", r.Workflow); err != nil {
			return err
		}
		return version(r.Version)
	}, (*fsm.Machine).GetWorkflow, nil)
}

// ListWorkflows lists versions.
func (s *service) ListWorkflows(ctx context.Context, r *connect.Request[v1.ListWorkflowsRequest]) (*connect.Response[v1.ListWorkflowsResponse], error) {
	return read(s, ctx, r, func(r *v1.ListWorkflowsRequest) error { return page(r.Limit, r.Page) }, (*fsm.Machine).ListWorkflows, nil)
}
