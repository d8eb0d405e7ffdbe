package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// incidents are all that a list has, page by page.
func (r *rig) incidents(ask *v1.ListIncidentsRequest) (all []*v1.Incident) {
	r.t.Helper()
	for pages := 0; pages < 1000; pages++ {
		out, err := r.m.ListIncidents(ask)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, out.Incidents...)
		if ask.Page = out.NextPage; ask.Page == "" {
			return all
		}
	}
	r.t.Fatal("the list has no end")
	return nil
}

func sayIncidents(all []*v1.Incident) string {
	var says []string
	for _, i := range all {
		says = append(says, strings.TrimSpace(fmt.Sprintf("%s %s %s", strings.TrimPrefix(i.Kind.String(), "INCIDENT_KIND_"), i.InstanceId, i.Step)))
	}
	return strings.Join(says, ", ")
}

// needs says what needs a person, the newest first, whatever the pages are.
func (r *rig) needs(want string) (all []*v1.Incident) {
	r.t.Helper()
	for _, limit := range []int32{1, 2, 100} {
		if all = r.incidents(&v1.ListIncidentsRequest{Limit: limit}); sayIncidents(all) != want {
			r.t.Fatalf("by %d a page there are %s; want %s", limit, sayIncidents(all), want)
		}
	}
	return all
}

// checkStill: the order of what stands still has those runs that do, at the time at which they began to.
func checkStill(m *Machine, ns *namespace) error {
	n := 0
	for _, i := range ns.instances {
		for at, r := range i.all() {
			k := i.key(at)
			if r.State != v1.RunState_RUN_STATE_INCIDENT {
				continue
			}
			if n++; !ns.still.Has(still{r.Order, &k}) || r.Order != r.ChangedWall {
				return fmt.Errorf("step %s of %s stands still since %d, and is listed so: %v", i.step(at).ID, i.rec.InstanceId, r.ChangedWall, ns.still.Has(still{r.Order, &k}))
			}
		}
	}
	var err error
	ns.still.Ascend(func(s still) bool {
		i, failed := m.lookup(ns.rec.Namespace, s.run.instance)
		switch {
		case failed != nil:
			err = failed
		case i.frame(s.run.at) == nil || i.run(s.run.at).State != v1.RunState_RUN_STATE_INCIDENT:
			err = fmt.Errorf("%v is listed as one that stands still", *s.run)
		}
		return err == nil
	})
	if err == nil && ns.still.Len() < n {
		err = fmt.Errorf("%d runs stand still, and %d are listed", n, ns.still.Len())
	}
	return err
}

// All that needs a person is in one list: what stands still, for whatever reason, and what has failed. What is mended leaves it.
func TestWhatNeedsAPersonIsListed(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: ok\nsteps:\n  a: {queue: none}\n")
		r.register("workflow: lacks\nsteps:\n  a: {queue: q}\n  b: {needs: [a], queue: q, when: \"steps.a.output.n > 1\"}\n  c: {needs: [b], queue: q}\n")
		r.register("workflow: tries\nsteps:\n  a: {queue: q, retry: {attempts: 2, backoff: 1s}}\n")
		r.register("workflow: undo\nsteps:\n  a: {queue: q, compensate: {queue: u, retry: {attempts: 1}}}\n  b: {needs: [a], queue: none}\n")
		worker := r.session(3600 * second)
		r.start("ok", "o", `{}`)
		r.needs("")
		r.start("lacks", "it's", `{}`)
		r.done(r.poll(worker, "q", 1)[0], `{}`)
		r.tick(second)
		all := r.needs("EXPRESSION it's b")
		i := all[0]
		if i.Code != "CONDITION_INVALID" || i.Workflow != "lacks" || i.Version != 1 || i.State != v1.InstanceState_INSTANCE_STATE_RUNNING || !strings.HasPrefix(i.Cause, `Step "b" stands still: `) || !strings.Contains(i.Cause, "steps.a.output.n") ||
			fmt.Sprint(i.Evidence) != "[Behind it wait c.]" ||
			!slices.Equal(i.Commands, []string{`lockstep step resolve 'it'\''s' b --output JSON --reason WHY`, `lockstep step skip 'it'\''s' b --reason WHY`, `lockstep instance cancel 'it'\''s' --reason WHY`}) {
			r.t.Fatalf("told as %v", i)
		}
		r.midway()
		r.start("tries", "t", `{}`)
		r.fail(r.poll(worker, "q", 1)[0], "BROKE", true)
		r.needs("EXPRESSION it's b")
		r.tick(second)
		r.fail(r.poll(worker, "q", 1)[0], "BROKE", true)
		all = r.needs("EXHAUSTED t a, EXPRESSION it's b")
		if i := all[0]; i.Code != "BROKE" || !strings.Contains(i.Cause, "a failed") || !strings.HasPrefix(i.Evidence[0], "It was leased 2 times, at last under token ") || !strings.HasSuffix(i.Evidence[0], "; 2 of 2 attempts are used.") || i.Since.AsTime().IsZero() {
			r.t.Fatalf("told as %v", i)
		}
		r.midway()
		r.tick(second)
		r.start("undo", "u", `{}`)
		r.done(r.poll(worker, "q", 1)[0], `{}`)
		r.tell(cancelOf("u"))
		r.fail(r.poll(worker, "u", 1)[0], "GONE", true)
		all = r.needs("COMPENSATION u a.compensate, EXHAUSTED t a, EXPRESSION it's b")
		if i := all[0]; i.Code != "GONE" || i.State != v1.InstanceState_INSTANCE_STATE_COMPENSATING || !strings.HasPrefix(i.Cause, `Step "a" is not undone, for a.compensate stands still: `) || i.Commands[0] != "lockstep step retry u a.compensate --reason WHY" || len(i.Commands) != 3 {
			r.t.Fatalf("told as %v", i)
		}
		r.midway()
		for _, x := range []struct {
			ask  *v1.ListIncidentsRequest
			want string
		}{
			{&v1.ListIncidentsRequest{Standing: true, Limit: 1}, "COMPENSATION u a.compensate, EXPRESSION it's b"},
			{&v1.ListIncidentsRequest{Workflow: "tries"}, "EXHAUSTED t a"},
			{&v1.ListIncidentsRequest{Kind: v1.IncidentKind_INCIDENT_KIND_EXPRESSION, Limit: 1}, "EXPRESSION it's b"},
		} {
			if got := sayIncidents(r.incidents(x.ask)); got != x.want {
				r.t.Errorf("by %v there are %s; want %s", x.ask, got, x.want)
			}
		}
		r.tell(retry("u", "a.compensate"))
		r.needs("EXHAUSTED t a, EXPRESSION it's b")
		r.fail(r.poll(worker, "u", 1)[0], "GONE", true)
		r.tell(skip("u", "a.compensate"))
		r.tell(resolve("it's", "b", `{}`))
		r.midway()
		r.needs("EXHAUSTED t a")
	})
}

// A compensation that yields to a deadlock and has no attempt left stands still as that; so does what is in use as another.
func TestKindsOfIncidents(t *testing.T) {
	scenario(t, func(r *rig) {
		r.register("workflow: w\nsteps:\n  a: {queue: q, limits: [{key: k, limit: 2, per: 10s}]}\n")
		r.register("workflow: v\nsteps:\n  a: {queue: q, limits: [{key: k, limit: 3, per: 10s}]}\n")
		worker := r.session(3600 * second)
		r.start("w", "i", `{}`)
		r.poll(worker, "q", 1)
		r.start("v", "j", `{}`)
		r.poll(worker, "q", 1)
		i := r.needs("DIFFERS j a")[0]
		if i.Code != "LIMIT_DIFFERS" || i.Commands[0] != "lockstep step retry j a --reason WHY" {
			r.t.Fatalf("told as %v", i)
		}
		r.tell(pause("j"))
		if i := r.needs("DIFFERS j a")[0]; !strings.Contains(fmt.Sprint(i.Evidence), "paused by ann") {
			r.t.Fatalf("told as %v", i)
		}
		r.tick(second)
		r.tell(giveUp("i", "a", deadlock))
		r.needs("DEADLOCK i a, DIFFERS j a")
		r.midway()
	})
}

// A list looks at what needs a person alone, and a page at so many of these; each is in it once.
func TestIncidentsComeInPages(t *testing.T) {
	r := newRig(t)
	r.register("workflow: w\nsteps:\n  a: {queue: q, input: \"${input.n}\"}\n")
	r.register("workflow: v\nsteps:\n  a: {queue: q, retry: {attempts: 1}}\n")
	worker := r.session(3600 * second)
	const many = searched + 20
	var commands []*logv1.Command
	for n := range many {
		commands = append(commands, &logv1.Command{Envelope: &logv1.Envelope{}, Body: &logv1.Command_StartInstance{StartInstance: &v1.StartInstanceRequest{Workflow: "w", InstanceId: fmt.Sprint("i", n), InputPayload: &v1.Payload{Bytes: []byte(`{}`)}}}})
	}
	r.apply(&logv1.Entry{Commands: commands})
	for n := range 3 {
		r.start("v", fmt.Sprint("v", n), `{}`)
		r.fail(r.poll(worker, "q", 1)[0], "E", false)
	}
	page, err := r.m.ListIncidents(&v1.ListIncidentsRequest{Workflow: "v"})
	if err != nil || len(page.Incidents) == many || page.NextPage == "" && len(page.Incidents) != 3 {
		t.Fatalf("the first page has %d, and goes on with %q: %v", len(page.Incidents), page.NextPage, err)
	}
	seen := map[string]bool{}
	for _, i := range r.incidents(&v1.ListIncidentsRequest{Limit: 7}) {
		if seen[i.InstanceId] {
			t.Fatalf("%s is listed twice", i.InstanceId)
		}
		seen[i.InstanceId] = true
	}
	if len(seen) != many+3 {
		t.Errorf("%d are listed; there are %d", len(seen), many+3)
	}
	if got := len(r.incidents(&v1.ListIncidentsRequest{Workflow: "v"})); got != 3 {
		t.Errorf("%d of the rare workflow are listed", got)
	}
	for _, bad := range []string{"x", "1:2:3", "1:2:y:i", "::: "} {
		if _, err := r.m.ListIncidents(&v1.ListIncidentsRequest{Page: bad}); err == nil || !strings.Contains(err.Error(), "none that a list of incidents has said") {
			t.Errorf("the page %q is answered %v", bad, err)
		}
	}
}
