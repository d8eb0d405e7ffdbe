package api

import (
	"context"

	"connectrpc.com/connect"

	"github.com/lockstep-dev/lockstep/fsm"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// CreateNamespace makes a namespace.
func (s *service) CreateNamespace(ctx context.Context, r *connect.Request[v1.CreateNamespaceRequest]) (*connect.Response[v1.Namespace], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.CreateNamespaceRequest) (*v1.Namespace, error) {
		if err := name("namespace", r.Namespace); err != nil {
			return nil, err
		}
		if err := text("description", r.Description); err != nil {
			return nil, err
		}
		return propose[*v1.Namespace](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_CreateNamespace{CreateNamespace: r}})
	})
}

// UpdateNamespace changes what a namespace says of itself.
func (s *service) UpdateNamespace(ctx context.Context, r *connect.Request[v1.UpdateNamespaceRequest]) (*connect.Response[v1.Namespace], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.UpdateNamespaceRequest) (*v1.Namespace, error) {
		if err := text("description", r.Description); err != nil {
			return nil, err
		}
		return propose[*v1.Namespace](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_UpdateNamespace{UpdateNamespace: r}})
	})
}

// DeleteNamespace removes a namespace and everything in it.
func (s *service) DeleteNamespace(ctx context.Context, r *connect.Request[v1.DeleteNamespaceRequest]) (*connect.Response[v1.DeleteNamespaceResponse], error) {
	return unary(s, ctx, r, r.Msg.Namespace, func(ctx context.Context, r *v1.DeleteNamespaceRequest) (*v1.DeleteNamespaceResponse, error) {
		if err := name("namespace", r.Namespace); err != nil {
			return nil, err
		}
		if err := text("reason", r.Reason); err != nil {
			return nil, err
		}
		return propose[*v1.DeleteNamespaceResponse](s, ctx, &logv1.Command{Envelope: envelope(ctx, r.Namespace), Body: &logv1.Command_DeleteNamespace{DeleteNamespace: r}})
	})
}

// GetNamespace returns a namespace.
func (s *service) GetNamespace(ctx context.Context, r *connect.Request[v1.GetNamespaceRequest]) (*connect.Response[v1.Namespace], error) {
	return read(s, ctx, r, func(*v1.GetNamespaceRequest) error { return nil }, (*fsm.Machine).GetNamespace, nil)
}

// ListNamespaces lists namespaces.
func (s *service) ListNamespaces(ctx context.Context, r *connect.Request[v1.ListNamespacesRequest]) (*connect.Response[v1.ListNamespacesResponse], error) {
	return read(s, ctx, r, func(r *v1.ListNamespacesRequest) error { return page(r.Limit, r.Page) }, (*fsm.Machine).ListNamespaces, nil)
}
