package propose

import (
	"time"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// lane has the newest renewal of each session, in order of the sessions' first. Its length is bounded by the number
// of sessions.
type lane struct {
	order  []*renewal
	newest map[renewed]*renewal
}

type renewed struct {
	namespace string
	session   int64
}

type renewal struct {
	message *logv1.Renewal
	calls   []Call

	received time.Duration // the oldest that it stands for, when at least that much of the term had passed
}

func (l *lane) add(message *logv1.Renewal, call Call, now time.Duration) {
	key := renewed{message.Namespace, message.Session}
	if r := l.newest[key]; r != nil {
		r.message = message
		r.calls = append(r.calls, call)
		return
	}
	r := &renewal{message, []Call{call}, now}
	if l.newest == nil {
		l.newest = map[renewed]*renewal{}
	}
	l.newest[key] = r
	l.order = append(l.order, r)
}

func (l *lane) clear() (calls []Call) {
	for _, r := range l.order {
		calls = append(calls, r.calls...)
	}
	*l = lane{}
	return calls
}

// take moves what fits into a batch, at least one, and returns its size.
func (l *lane) take(b *Batch, bytes int) (used int) {
	n := 0
	for _, r := range l.order {
		size := framed(r.message)
		if n > 0 && used+size > bytes {
			break
		}
		used += size
		b.Entry.Renewals = append(b.Entry.Renewals, r.message)
		b.Renewals = append(b.Renewals, r.calls)
		delete(l.newest, renewed{r.message.Namespace, r.message.Session})
		n++
	}
	l.order = l.order[n:]
	if len(l.order) == 0 {
		*l = lane{}
	}
	return used
}
