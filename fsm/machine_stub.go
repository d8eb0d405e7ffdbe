package fsm

import (
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// STUB: replaced within the hour.
type Machine struct{}
type Snapshot struct{}
type Result struct {
	Skipped  bool
	Outcomes []Outcome
	Renewals []RenewalOutcome
	Settled  []Settlement
	Changed  []string
	Events   []*v1.Event
}
type Outcome struct {
	Reply   proto.Message
	Refusal *v1.Refusal
	Parked  bool
}
type RenewalOutcome struct {
	Reply   *v1.KeepAliveResponse
	Refusal *v1.Refusal
}
type Settlement struct {
	WaitID  uint64
	Reply   proto.Message
	Refusal *v1.Refusal
	More    bool
}
type Clock struct {
	Term                  uint64
	Elapsed, Uptime, Wall int64
	Sessions              int
	Deadline              int64
	Level                 uint32
}

func Open(engine table.Engine) (*Machine, error)                               { panic("stub") }
func (m *Machine) Applied() (index, term uint64)                               { panic("stub") }
func (m *Machine) Apply(index, term uint64, entry *logv1.Entry) Result         { panic("stub") }
func (m *Machine) Flush() error                                                { panic("stub") }
func (m *Machine) Dirty() int                                                  { panic("stub") }
func (m *Machine) Flushed() uint64                                             { panic("stub") }
func (m *Machine) Sync() error                                                 { panic("stub") }
func (m *Machine) Close() error                                                { panic("stub") }
func (m *Machine) Snapshot() (*Snapshot, error)                                { panic("stub") }
func (s *Snapshot) WriteTo(w io.Writer) (int64, error)                         { panic("stub") }
func (s *Snapshot) Index() uint64                                              { panic("stub") }
func (s *Snapshot) Close() error                                               { panic("stub") }
func ReadSnapshot(r io.Reader, into table.Engine) (uint64, error)              { panic("stub") }
func (m *Machine) GetNamespace(*v1.GetNamespaceRequest) (*v1.Namespace, error) { panic("stub") }
func (m *Machine) ListNamespaces(*v1.ListNamespacesRequest) (*v1.ListNamespacesResponse, error) {
	panic("stub")
}
func (m *Machine) GetWorkflow(*v1.GetWorkflowRequest) (*v1.Workflow, error) { panic("stub") }
func (m *Machine) ListWorkflows(*v1.ListWorkflowsRequest) (*v1.ListWorkflowsResponse, error) {
	panic("stub")
}
func (m *Machine) GetInstance(*v1.GetInstanceRequest) (*v1.Instance, error) { panic("stub") }
func (m *Machine) ListInstances(*v1.ListInstancesRequest) (*v1.ListInstancesResponse, error) {
	panic("stub")
}
func (m *Machine) GetHistory(*v1.GetHistoryRequest) (*v1.GetHistoryResponse, error) { panic("stub") }
func (m *Machine) Explain(*v1.ExplainRequest) (*v1.ExplainResponse, error)          { panic("stub") }
func (m *Machine) ListSessions(*v1.ListSessionsRequest) (*v1.ListSessionsResponse, error) {
	panic("stub")
}
func (m *Machine) ListQueues(*v1.ListQueuesRequest) (*v1.ListQueuesResponse, error) { panic("stub") }
func (m *Machine) ListLateResults(*v1.ListLateResultsRequest) (*v1.ListLateResultsResponse, error) {
	panic("stub")
}
func (m *Machine) GetLock(*v1.GetLockRequest) (*v1.Lock, error)                     { panic("stub") }
func (m *Machine) ListLocks(*v1.ListLocksRequest) (*v1.ListLocksResponse, error)    { panic("stub") }
func (m *Machine) CheckToken(*v1.CheckTokenRequest) (*v1.CheckTokenResponse, error) { panic("stub") }
func (m *Machine) Events(namespace string, after int64, limit int) ([]*v1.Event, error) {
	panic("stub")
}
func (m *Machine) Position(namespace string) (int64, error)         { panic("stub") }
func (m *Machine) InstanceEnded(namespace, id string) (bool, error) { panic("stub") }
func (m *Machine) Clock() Clock                                     { panic("stub") }
func (m *Machine) Digest() (uint64, []byte)                         { panic("stub") }
func (m *Machine) Digests() []*v1.DigestAt                          { panic("stub") }
