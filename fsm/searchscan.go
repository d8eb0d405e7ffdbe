package fsm

import (
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/lockstep-dev/lockstep/fsm/table"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// scanned bounds how many instances one page looks at where there is no index of them.
const scanned = 10_000

// scan answers a page by looking at instances by their ids: below the level of the index, and while not all is in it.
func (s *query) scan(r *v1.ListInstancesRequest, level uint32) (*v1.ListInstancesResponse, error) {
	from := &listing{in: s.in, ns: s.ns.rec.Namespace, after: r.Page}
	if s.order == byID && r.Page != "" {
		from.after = s.from.id
	}
	if len(s.keys) > 0 && level >= keysLevel && s.state != 0 && Live(s.state) && s.state != v1.InstanceState_INSTANCE_STATE_QUEUED {
		from.by = s.keys[0]
	}
	out, seen, size, last := &v1.ListInstancesResponse{}, 0, 0, ""
	var failed error
	err := from.each(func(value []byte) bool {
		if len(out.Instances) >= s.limit || seen >= scanned || size > pageBytes {
			if out.NextPage = last; s.order == byID {
				out.NextPage = byID.cursor(&spot{id: last})
			}
			return false
		}
		rec := &logv1.Instance{}
		if failed = proto.Unmarshal(value, rec); failed != nil {
			return false
		}
		seen++
		last = rec.InstanceId
		if s.matches(s.ns, rec) {
			var head *v1.Instance
			var bytes int
			head, bytes, failed = s.head(rec)
			size += len(value) + bytes
			out.Instances = append(out.Instances, head)
		}
		return failed == nil
	})
	return out, errors.Join(err, failed)
}

// listing is where a list takes instances from, by id: all that there are, or the live ones that have a key.
type listing struct {
	in        table.Reader
	ns, after string
	by        *logv1.Pair
}

func (l *listing) each(fn func(value []byte) bool) error {
	parts := []string{l.ns}
	tbl := byte(tableInstance)
	if l.by != nil {
		tbl, parts = tableKey, []string{l.ns, l.by.Key, l.by.Value}
	}
	from, to := key(tbl, parts...), table.End(key(tbl, parts...))
	if l.after != "" {
		from = append(key(tbl, append(parts, l.after)...), 0)
	}
	var failed error
	err := l.in.Scan(from, to, func(k, value []byte) bool {
		if l.by != nil {
			id, _, _ := table.CutString(k[len(key(tbl, parts...)):])
			if value, _, failed = l.in.Get(key(tableInstance, l.ns, id)); failed != nil {
				return false
			}
		}
		return fn(value)
	})
	return errors.Join(err, failed)
}
