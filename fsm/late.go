package fsm

import (
	"bytes"
	"encoding/hex"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// keepLate puts a fenced completion of a token that may have held the run into the inbox of late results:
// what the worker did is not lost, though it did not count.
func (t *turn) keepLate(i *instance, at at, c *v1.CompleteStepRequest) {
	if i.run(at).Attempt == 0 || c.Token > i.run(at).Token {
		return
	}
	t.emit(&resultKept{i: i, at: at, rec: &logv1.LateResult{
		InstanceId: c.InstanceId, Step: c.Step, Index: c.Index, Token: c.Token, Output: c.OutputPayload,
		Author: t.env.Author, ReceivedWall: t.wall(),
	}})
}

type resultKept struct {
	i   *instance
	at  at
	rec *logv1.LateResult
}

func (e *resultKept) kind() string { return "lockstep.step.late.v1" }
func (e *resultKept) fill(d *v1.EventData) string {
	fillRun(d, e.i, e.at)
	d.Token, d.PayloadSize = e.rec.Token, int64(len(e.rec.Output.GetBytes()))
	return e.i.subject()
}
func (e *resultKept) evolve(t *turn) {
	t.m.dirty.late = append(t.m.dirty.late, lateRow{t.ns.rec.Namespace, e.rec})
	t.m.dirtyBytes += len(e.rec.Output.GetBytes())
	t.observeLate(e.i, e.rec)
}

// ListLateResults lists fenced completions by instance and token.
func (m *Machine) ListLateResults(r *v1.ListLateResultsRequest) (*v1.ListLateResultsResponse, error) {
	snapshot, err := m.view()
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	m.mu.RLock()
	ns, refusal := m.namespace(r.Namespace)
	m.mu.RUnlock()
	if refusal != nil {
		return nil, refusal
	}
	prefix := key(tableLate, ns.rec.Namespace)
	if r.InstanceId != "" {
		prefix = key(tableLate, ns.rec.Namespace, r.InstanceId)
	}
	from := prefix
	if r.Page != "" {
		last, err := hex.DecodeString(r.Page)
		if err != nil || !bytes.HasPrefix(last, prefix) {
			return nil, Refuse(v1.Code_CODE_INVALID, "page %q is not one that this list gave", r.Page)
		}
		from = append(last, 0)
	}
	out, size, last := &v1.ListLateResultsResponse{}, 0, ""
	var failed error
	err = snapshot.Scan(from, table.End(prefix), func(k, value []byte) bool {
		if len(out.Results) >= pageLimit(r.Limit) || size > pageBytes {
			out.NextPage = last
			return false
		}
		rec := &logv1.LateResult{}
		if failed = proto.Unmarshal(value, rec); failed != nil {
			return false
		}
		size += len(value)
		last = hex.EncodeToString(k)
		out.Results = append(out.Results, lateReply(rec))
		return true
	})
	return out, errors.Join(err, failed)
}

func lateReply(rec *logv1.LateResult) *v1.LateResult {
	return &v1.LateResult{
		InstanceId: rec.InstanceId, Step: rec.Step, Index: rec.Index, Token: rec.Token, Output: rec.Output,
		Author: rec.Author, Received: stamp(rec.ReceivedWall),
	}
}
