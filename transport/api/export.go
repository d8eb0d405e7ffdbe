package api

import (
	"context"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func checkExport(r *v1.ExportInstancesRequest) error {
	if r.After < 0 || r.Within < 0 || r.Pieces < 0 {
		return invalid("after is %d, within %d, pieces %d; take them from the page before", r.After, r.Within, r.Pieces)
	}
	if r.EndedBefore != nil && !r.EndedBefore.IsValid() {
		return invalid("endedBefore is no time")
	}
	return nil
}

// ExportInstances returns the next page of finished instances.
func (s *service) ExportInstances(ctx context.Context, r *connect.Request[v1.ExportInstancesRequest]) (*connect.Response[v1.ExportInstancesResponse], error) {
	return read(s, ctx, r, checkExport, (*fsm.Machine).ExportInstances, func(page *v1.ExportInstancesResponse) {
		for _, piece := range page.Pieces {
			if piece.Instance != nil {
				showInstance(piece.Instance)
			}
			if piece.Run != nil {
				valueOf(&piece.Run.Output, &piece.Run.OutputPayload)
			}
		}
	})
}

// AckExport says up to where finished instances were exported.
func (s *service) AckExport(ctx context.Context, r *connect.Request[v1.AckExportRequest]) (*connect.Response[v1.Namespace], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.AckExportRequest) (*v1.Namespace, error) {
		if r.Position < 1 {
			return nil, invalid("position is %d; positions count from 1", r.Position)
		}
		if err := text("reason", r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.Namespace](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_AckExport{AckExport: r}})
	})
}
