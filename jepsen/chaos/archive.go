package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/jepsen/check"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// A namespace keeps what is finished for a moment once it is exported, while everything else goes on in another. An exporter, which is the
// command that a user has, is killed again and again, and started with the same words.

const (
	archiveName  = "archive"
	archiveKeeps = 2 * time.Second
	archiving    = 2 // lanes
	archiveEvery = 60 * time.Millisecond
	archiveBytes = 8 << 10 // of input
	// A leader whose clock was ahead has things end at times that have not come: they are kept until clocks that are right have passed those,
	// and not waited for when that takes longer than this.
	archiveAhead = 10 * time.Second
)

const archived = "workflow: file\nsteps:\n  seen: {signal: {name: seen}}\n  signed: {needs: [seen], signal: {name: signed}}\n"

// archive is what the workload knows of itself.
type archive struct {
	client *client.Client
	path   string

	mu    sync.Mutex // guards what follows
	acked map[string]bool
	// runs of the exporter, those of them that were killed, and of these those that had written by then.
	runs, killed, torn int
	why                string // the last that it said when it failed
}

// openArchive makes the namespace.
func (w *world) openArchive(ctx context.Context) (err error) {
	a := &archive{path: filepath.Join(w.Out, "export.jsonl"), acked: map[string]bool{}}
	if err := os.Remove(a.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if a.client, err = client.New(client.Config{Servers: w.lab.APIs(), Namespace: archiveName}); err != nil {
		return err
	}
	w.archive = a
	w.clients = append(w.clients, a.client)
	keep := &v1.Retention{Finished: durationpb.New(archiveKeeps), ExportFirst: true}
	if _, err := a.client.Namespaces.CreateNamespace(ctx, connect.NewRequest(&v1.CreateNamespaceRequest{Namespace: archiveName, Retention: keep})); err != nil {
		if r, refused := client.AsRefusal(err); !refused || r.Code != v1.Code_CODE_NAMESPACE_EXISTS { // it was made, and its answer lost
			return fmt.Errorf("create the archive: %w", err)
		}
	}
	_, err = a.client.Register(ctx, archived)
	return err
}

// fill starts instances, and ends most of them: well, or cancelled. Some ids are used again, when what had them is gone or not.
func (a *archive) fill(ctx context.Context, lane int, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, 6000+uint64(lane)))
	var over []string
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("file-%d-%d", lane, n)
		if len(over) > 50 && chance.IntN(5) == 0 {
			id = over[chance.IntN(len(over))]
		}
		began, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err := a.client.Start(began, "file", id, strings.Repeat("x", archiveBytes), client.StartOptions{})
		if err == nil {
			a.mu.Lock()
			a.acked[id] = true
			a.mu.Unlock()
		}
		switch kind := chance.IntN(10); {
		case err != nil || kind == 0: // it lives for ever
		case kind == 1:
			_, _ = a.client.Cancel(began, id, "not wanted") // the feed tells what became of it
			over = append(over, id)
		default:
			for _, name := range []string{"seen", "signed"} {
				_, _ = a.client.Signal(began, id, name, fmt.Sprint(name, n), nil, client.SignalOptions{})
			}
			over = append(over, id)
		}
		cancel()
		pause(ctx, time.Duration(chance.Int64N(int64(2*archiveEvery))))
	}
}

// export runs the exporter over and over, and kills it: after any time, or a moment behind its first line, when the cluster may know of that or
// not. It always says the same.
func (w *world) export(ctx context.Context, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, 7000))
	for ctx.Err() == nil {
		limit, moment := 20*time.Second, time.Duration(-1) // nothing holds it up for ever
		switch chance.IntN(4) {
		case 0:
			limit = time.Duration(chance.Int64N(int64(time.Second)))
		case 1, 2:
			moment = time.Duration(chance.Int64N(int64(3 * time.Millisecond)))
		}
		w.exportOnce(ctx, limit, moment)
		pause(ctx, time.Duration(chance.Int64N(int64(300*time.Millisecond))))
	}
}

// exportOnce runs the exporter until it has written all, or is killed: at a limit, or a moment behind its first line unless that is negative.
func (w *world) exportOnce(ctx context.Context, limit, moment time.Duration) bool {
	a := w.archive
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	before := size(a.path)
	if moment >= 0 {
		go func() { // ends with this call
			for ctx.Err() == nil && size(a.path) <= before {
				pause(ctx, 200*time.Microsecond)
			}
			pause(ctx, moment)
			cancel()
		}()
	}
	cmd := exec.CommandContext(ctx, w.Binary, "instance", "export", "--out", a.path, "--ack") // its context kills it with SIGKILL
	cmd.Env = append(os.Environ(), "LOCKSTEP_SERVER="+strings.Join(w.lab.APIs(), ","), "LOCKSTEP_NAMESPACE="+archiveName)
	text, err := cmd.CombinedOutput()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs++
	switch {
	case err != nil && ctx.Err() != nil:
		if a.killed++; size(a.path) > before {
			a.torn++
		}
	case err != nil:
		a.why = fmt.Sprintf("%v: %s", err, text)
	}
	return err == nil
}

func size(path string) int64 {
	s, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return s.Size()
}

// lines reads what was exported: whole lines alone.
func (a *archive) lines() (all []check.Exported, err error) {
	f, err := os.Open(a.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var line struct {
			Namespace string
			Position  int64
			Instance  struct{ InstanceID, State string }
			Events    []json.RawMessage
		}
		if err := json.Unmarshal(in.Bytes(), &line); err != nil || line.Namespace != archiveName {
			return nil, fmt.Errorf("line %d of the export, of namespace %q: %w", len(all)+1, line.Namespace, err)
		}
		all = append(all, check.Exported{Instance: line.Instance.InstanceID, Position: line.Position, State: stateName(line.Instance.State), Events: len(line.Events)})
	}
	return all, in.Err()
}

// stateName is a state as events call it.
func stateName(s string) string { return strings.ToLower(strings.TrimPrefix(s, "INSTANCE_STATE_")) }

// judgeArchive has all be exported, and removed, that is over; then it compares.
func (w *world) judgeArchive(ctx context.Context) {
	removed, facts, err := w.archived(ctx)
	if err != nil {
		facts = append(facts, check.Fact{Guarantee: "retention", What: "the archive: " + err.Error()})
	}
	w.report.check("what is removed was kept for long enough, and exported", "retention", facts)
	w.report.archive(w.archive, removed)
}

func (w *world) archived(ctx context.Context) (removed int, facts []check.Fact, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	a := w.archive
	var ns *v1.Namespace
	for since := time.Now(); ; pause(ctx, 300*time.Millisecond) {
		w.exportOnce(ctx, 30*time.Second, -1)
		if ns, err = a.shown(ctx); err != nil {
			return 0, nil, err
		}
		if ns.Kept.OldestEnded == nil || time.Until(ns.Kept.OldestEnded.AsTime()) > archiveAhead {
			break
		}
		if time.Since(since) > time.Minute {
			facts = append(facts, check.Fact{Guarantee: "liveness", What: fmt.Sprintf("a minute behind its end and export something is there that has ended: %v; the exporter said %q", ns.Kept, a.why)})
			break
		}
	}
	// Nothing more is removed, so what is read now stays so.
	if _, err := a.client.Namespaces.UpdateNamespace(ctx, connect.NewRequest(&v1.UpdateNamespaceRequest{Namespace: archiveName, Retention: &v1.Retention{}})); err != nil {
		return 0, facts, err
	}
	if ns, err = a.shown(ctx); err != nil {
		return 0, facts, err
	}
	list, err := feed(ctx, a.client, ns.Position)
	if err != nil {
		return 0, facts, fmt.Errorf("read the feed: %w", err)
	}
	k := check.Kept{Finished: archiveKeeps}
	if k.Exported, err = a.lines(); err != nil {
		return 0, facts, err
	}
	if k.There, err = a.there(ctx); err != nil {
		return 0, facts, err
	}
	var events []check.Event
	begun := map[string]bool{}
	for _, e := range list {
		x := event(e)
		events = append(events, x)
		begun[x.Instance] = begun[x.Instance] || x.Type == "instance.started"
	}
	for id := range a.acked {
		if !begun[id] {
			facts = append(facts, check.Fact{Guarantee: "S3", What: fmt.Sprintf("the start of %s was acknowledged, and no event tells of it", id)})
		}
	}
	removed, more := check.Retention(events, k)
	if int64(removed) != ns.Kept.Removed {
		more = append(more, check.Fact{Guarantee: "retention", What: fmt.Sprintf("%d were removed, and the namespace says %d", removed, ns.Kept.Removed)})
	}
	return removed, append(facts, more...), nil
}

func (a *archive) shown(ctx context.Context) (*v1.Namespace, error) {
	ns, err := a.client.Namespaces.GetNamespace(ctx, connect.NewRequest(&v1.GetNamespaceRequest{Namespace: archiveName}))
	if err != nil {
		return nil, fmt.Errorf("read the namespace: %w", err)
	}
	return ns.Msg, nil
}

// there are all instances, with their states.
func (a *archive) there(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	for page := ""; ; {
		list, err := a.client.Instances.ListInstances(ctx, connect.NewRequest(&v1.ListInstancesRequest{Namespace: archiveName, Page: page}))
		if err != nil {
			return nil, fmt.Errorf("list what is there: %w", err)
		}
		for _, i := range list.Msg.Instances {
			all[i.InstanceId] = stateName(i.State.String())
		}
		if page = list.Msg.NextPage; page == "" {
			return all, nil
		}
	}
}

// archive counts what was removed, and how often the exporter was killed.
func (r *report) archive(a *archive, removed int) {
	r.Removed, r.ExporterKilled, r.ExporterTorn = removed, a.killed, a.torn
	var void []check.Fact
	if removed == 0 || a.torn == 0 {
		void = []check.Fact{{Guarantee: "retention", What: "nothing was removed, or no exporter was killed that had written: the run shows nothing about that"}}
	}
	r.check("finished instances were removed while their exporter was killed", "retention", void)
}
