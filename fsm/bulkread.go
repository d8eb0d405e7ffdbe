package fsm

import v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"

// countedLeft bounds how many instances GetBulk counts that are still to be looked at.
const countedLeft = 10_000

// GetBulk returns a bulk operation: while it runs, with how many instances there are still to be looked at.
func (m *Machine) GetBulk(r *v1.GetBulkRequest) (*v1.BulkOperation, error) {
	out, left, err := m.viewBulk(r)
	if err != nil || left == nil {
		return out, err
	}
	defer left.in.Close()
	ranges, err := left.fewest()
	if err != nil {
		return nil, err
	}
	for out.Left < countedLeft {
		next, err := ranges.next()
		if err != nil || next == nil {
			return out, err
		}
		out.Left++
	}
	next, err := ranges.next()
	out.LeftMore = next != nil
	return out, err
}

// viewBulk is GetBulk but for what is left, which is to be found in what it pins.
func (m *Machine) viewBulk(r *v1.GetBulkRequest) (*v1.BulkOperation, *query, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, nil, refusal
	}
	b, refusal := ns.bulk(r.BulkId)
	if refusal != nil {
		return nil, nil, refusal
	}
	if out := b.reply(); !b.runs() {
		return out, nil, nil
	}
	in, err := m.viewed()
	if err != nil {
		return nil, nil, err
	}
	return b.reply(), b.query(in), nil
}

// ListBulks lists bulk operations by id.
func (m *Machine) ListBulks(r *v1.ListBulksRequest) (*v1.ListBulksResponse, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns, refusal := m.namespace(r.Namespace)
	if refusal != nil {
		return nil, refusal
	}
	out := &v1.ListBulksResponse{}
	for _, id := range ns.bulkIDs {
		if id <= r.Page {
			continue
		}
		if len(out.Bulks) == pageLimit(r.Limit) {
			out.NextPage = out.Bulks[len(out.Bulks)-1].BulkId
			break
		}
		out.Bulks = append(out.Bulks, ns.bulks[id].reply())
	}
	return out, nil
}

// Advancing lists the namespaces in which a bulk operation runs.
func (m *Machine) Advancing() (names []string) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, name := range m.names {
		if ns := m.namespaces[name]; ns.bulksRun > 0 && !ns.rec.Indexing {
			names = append(names, name)
		}
	}
	return names
}
