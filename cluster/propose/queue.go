package propose

import (
	"time"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
)

// queue has commands in order of arrival.
type queue struct {
	items []queued
	group uint64
}

type queued struct {
	command *logv1.Command
	size    int
	group   uint64 // of those that came together
	call    Call

	received time.Duration // at least that much of the term had passed
}

func (q *queue) add(commands []*logv1.Command, calls []Call, now time.Duration) {
	q.group++
	for i, command := range commands {
		q.items = append(q.items, queued{command, framed(command), q.group, calls[i], now})
	}
}

// framed is a message's size in an entry, within a few bytes.
func framed(m proto.Message) int { return proto.Size(m) + 8 }

func (q *queue) clear() (calls []Call) {
	for _, item := range q.items {
		calls = append(calls, item.call)
	}
	q.items = nil
	return calls
}

// take moves what fits into a batch; one command always does. Commands that came together stay together unless they
// would not fit into an entry of their own.
func (q *queue) take(b *Batch, count, bytes int) {
	n, size := 0, 0
	for n < len(q.items) && n < count && (n == 0 || size+q.items[n].size <= bytes) {
		if n > 0 && q.items[n].group != q.items[n-1].group && q.splits(n, count, bytes, size) {
			break
		}
		size += q.items[n].size
		b.Entry.Commands = append(b.Entry.Commands, q.items[n].command)
		b.Commands = append(b.Commands, q.items[n].call)
		n++
	}
	q.items = q.items[n:]
	if len(q.items) == 0 {
		q.items = nil // what was taken may go
	}
}

// splits says whether the group that begins at n would be split here, though it fits into an entry of its own.
func (q *queue) splits(n, count, bytes, used int) bool {
	members, size := 0, 0
	for _, item := range q.items[n:] {
		if item.group != q.items[n].group {
			break
		}
		members, size = members+1, size+item.size
	}
	return members <= count && size <= bytes && (n+members > count || used+size > bytes)
}
