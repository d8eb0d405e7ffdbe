package fsm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lockstep-dev/lockstep/jepsen/require"
	logv1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// numbers are an input with a long list.
func numbers(n int) string {
	var list []string
	for k := range n {
		list = append(list, fmt.Sprint(100_000+k))
	}
	return `{"list":[` + strings.Join(list, ",") + `]}`
}

// steps are many of them, each as fn says.
func steps(n int, fn func(n int) string) string {
	var b strings.Builder
	b.WriteString("workflow: w\nsteps:\n")
	for k := range n {
		fmt.Fprintf(&b, "  s%d: {%s}\n", k, fn(k))
	}
	return b.String()
}

func behindTheLast(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("needs: [s%d], ", n-1)
}

// What goes on by itself in an instance, and how many entries more it takes at least and at most, where each does a tenth of what
// it does elsewhere.
var unfoldings = map[string]struct {
	workflow, input string
	least, most     int
}{
	"items whose condition goes through a list": {
		"workflow: w\nsteps:\n  each: {forEach: {in: \"${input.list}\", width: 500, steps: {s: {when: \"input.list.exists(x, x == -item)\"}}}}\n",
		numbers(500), 10, 60,
	},
	"items whose condition looks into a list": {
		"workflow: w\nsteps:\n  each: {forEach: {in: \"${input.list}\", width: 3, steps: {s: {when: \"item != input.list[index]\"}}}}\n",
		numbers(2000), 1, 4,
	},
	"turns whose condition looks into a list": {
		"workflow: w\nsteps:\n  often: {loop: {while: \"index < size(input.list)\", max: 10000, steps: {s: {when: \"input.list[index] < 0\"}}}}\n",
		numbers(2000), 1, 4,
	},
	"many steps beside each other": {
		steps(2000, func(int) string { return "when: \"input.list[0] < 0\"" }), numbers(20_000), 1, 4,
	},
	"many steps behind each other": {
		steps(2000, func(n int) string {
			return behindTheLast(n) + "when: \"input.list[0] > 0\", timer: {until: \"2000-01-01T00:00:00Z\"}"
		}), numbers(20_000), 1, 4,
	},
	"a chain that is skipped": {
		steps(5000, func(n int) string { return behindTheLast(n) + []string{"when: \"input.no\"", ""}[min(n, 1)] }), `{"no":false}`, 1, 4,
	},
	"turns inside turns": {
		"workflow: w\nsteps:\n  a: {loop: {max: 20, steps: {b: {loop: {max: 100, steps: {s: {when: \"input.no\"}}}}}}}\n", `{"no":false}`, 1, 4,
	},
	"many instances that are called": {
		"workflow: w\nsteps:\n  each: {forEach: {in: \"${input.list}\", width: 200, steps: {s: {call: {workflow: leaf}}}}}\n", numbers(200), 4, 30,
	},
}

// Whatever follows from a command by itself, an entry does so much of it and no more; and it comes to its end.
func TestAnEntryDoesSoMuch(t *testing.T) {
	require.WithoutRace(t)
	const limit = workMost / 10
	for name, u := range unfoldings {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.m.LimitWork(limit)
			r.wall = 1704067200 * second
			r.register(strings.Replace(steps(20, func(int) string { return "when: \"input.list[0] < 0\"" }), "workflow: w", "workflow: leaf", 1))
			r.register(u.workflow)
			bounded := func(got Result) {
				t.Helper()
				// Both shares of the entry, and in each one evaluation that goes beyond.
				if most := 2 * (limit + 60_000); got.Work > most {
					t.Fatalf("entry %d does %d units of work; at most %d are good", r.index, got.Work, most)
				}
			}
			bounded(r.tell(startOf("w", "i", u.input)))
			entries := 0
			for ; r.m.todos.Len() > 0; entries++ {
				bounded(r.apply(&logv1.Entry{}))
				must(check(r.m))
			}
			if entries < u.least || entries > u.most {
				t.Errorf("it takes %d entries more; want %d to %d", entries, u.least, u.most)
			}
			if i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"}); err != nil || i.State != v1.InstanceState_INSTANCE_STATE_COMPLETED {
				t.Errorf("it is %v, %v", i.GetState(), err)
			}
		})
	}
}

// What is read of an instance is decoded once in an entry, whoever reads it.
func TestAnEntryDecodesAnInputOnce(t *testing.T) {
	input := numbers(10_000)
	r := newRig(t)
	r.register(steps(1000, func(int) string { return "when: \"input.list[0] < 0\"" }))
	if got, most := r.tell(startOf("w", "i", input)).Work, len(input)/bytesPerWork+1000*(RunWork+20); got > most {
		t.Errorf("1000 conditions over one input are %d units of work; want at most %d", got, most)
	}
}

// small are unfoldings of which each run may be an entry of its own.
var small = map[string]struct{ workflow, input string }{
	"list":  {"workflow: w\nsteps:\n  each: {forEach: {in: \"${input.list}\", width: 2, steps: {s: {when: \"item > 100002\", timer: {until: \"2000-01-01T00:00:00Z\"}}, t: {needs: [s], when: \"input.no\"}}, output: \"${item + index}\"}}\noutput: \"${steps.each.output}\"\n", `{"no":false,"list":[100001,100002,100003,100004,100005,100006,100007]}`},
	"turns": {"workflow: w\nsteps:\n  often: {loop: {while: \"index < 5\", max: 9, steps: {s: {timer: {until: \"2000-01-01T00:00:00Z\"}}, t: {when: \"index == last\"}}, output: \"${index}\"}}\noutput: \"${steps.often.output}\"\n", `{}`},
	"all within all": {`
workflow: w
steps:
  a: {loop: {max: 3, steps: {b: {forEach: {in: [1, 2, 3], width: 3, steps: {c: {scope: {steps: {d: {when: "item == 2", timer: {until: "2000-01-01T00:00:00Z"}}, e: {needs: [d]}}}}}}}}}}
`, `{}`},
	"joins": {`
workflow: w
steps:
  a: {when: "input.no"}
  b: {timer: {until: "2000-01-01T00:00:00Z"}}
  c: {needs: [a, b], timer: {until: "2000-01-01T00:00:00Z"}}
  d: {needs: [a, c], join: any, timer: {until: "2000-01-01T00:00:00Z"}}
  e: {needs: [{step: b, ends: failed}, d]}
  f: {needs: [e, c], join: {atLeast: 2}}
  g: {race: [h, i, j], timer: {until: "2000-01-01T00:00:00Z"}}
  h: {needs: [c], timer: {after: 1h}}
  i: {timer: {until: "2000-01-01T00:00:00Z"}}
  j: {timer: {after: 1h}}
  k: {needs: [g, e], timer: {until: "2000-01-01T00:00:00Z"}}
`, `{"no":false}`},
	"incidents and failures": {`
workflow: w
timeouts: {total: 1h}
steps:
  a: {loop: {max: 2, steps: {b: {loop: {while: "last > 1", max: 3, steps: {c: {when: "input.no"}}, output: "x"}}, d: {needs: [{step: b, ends: failed}], timer: {until: "2000-01-01T00:00:00Z"}}}}}
  e: {when: "input.none"}
  f: {forEach: {in: [1, 2, 3], width: 3, steps: {g: {when: "input.no"}, h: {loop: {while: "item", max: 2, steps: {i: {}}}}, j: {needs: [{step: h, ends: failed}], when: "input.no"}}}}
`, `{"no":false}`},
}

// Who does so much and no more does the same: the runs come to what they come to in one entry, whenever the machine is another one in
// between; and each entry is the same for all.
func TestWhatIsPostponedIsDone(t *testing.T) {
	for name, u := range small {
		t.Run(name, func(t *testing.T) {
			ends := map[int]string{}
			for _, limit := range []int{workMost, 1, 220, 800} {
				var entries []string
				scenario(t, func(r *rig) {
					r.m.LimitWork(limit)
					r.wall = 1704067200 * second
					r.register(u.workflow)
					got := []string{answers(r.tell(startOf("w", "i", u.input)))}
					for r.m.todos.Len() > 0 {
						r.midway()
						got = append(got, answers(r.apply(&logv1.Entry{})))
						if len(got) > 200 {
							r.t.Fatal("it does not end")
						}
					}
					if entries == nil {
						entries = got
					}
					if fmt.Sprint(got) != fmt.Sprint(entries) {
						r.t.Fatalf("the entries are\n%q\nand of another machine\n%q", got, entries)
					}
					i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"})
					must(err)
					end := fmt.Sprintf("%s %s", i.State, i.OutputPayload.GetBytes())
					for _, run := range i.Runs {
						end += fmt.Sprintf("\n%s/%d=%s %s", run.Step, run.Index, runStateName(run.State), run.Code)
					}
					if want, ok := ends[workMost]; ok && end != want {
						r.t.Fatalf("with a limit of %d it is\n%s\nwithout\n%s", limit, end, want)
					}
					ends[limit] = end
				})
				if limit == 1 && len(entries) < 3 {
					t.Errorf("it takes %d entries", len(entries))
				}
			}
		})
	}
}

// tired is a machine of which an entry begins one run, and one more of those that were postponed.
func tired(r *rig) {
	r.m.LimitWork(1)
	r.wall = 1704067200 * second
}

// What is not begun yet can be looked at, cancelled, and lose its race.
func TestWhatIsPostponedIsPending(t *testing.T) {
	const workflow = `
workflow: w
steps:
  a: {signal: {name: s}}
  b: {queue: q}
  c: {signal: {name: t}}
  d: {queue: q}
  e: {approval: {}}
  f: {race: [a, c], queue: q}
  g: {needs: [e], queue: q}
`
	start := func(r *rig) {
		tired(r)
		r.register(workflow)
		r.start("w", "i", `{}`)
		r.midway()
		r.is("i", "RUNNING a=WAITING b=READY c=PENDING d=PENDING e=PENDING f=PENDING g=PENDING")
	}
	t.Run("explained", func(t *testing.T) {
		scenario(t, func(r *rig) {
			start(r)
			for _, step := range []string{"c", "d"} {
				if e := r.why("i", step); e.Code != v1.ExplainCode_EXPLAIN_CODE_NEEDS_PENDING || len(e.Missing) > 0 || !strings.Contains(e.Sentence, "next entries") {
					r.t.Errorf("step %s is explained as %v", step, e)
				}
			}
			if e := r.why("i", "g"); !strings.Contains(e.Sentence, "waits for e") {
				r.t.Errorf("step g is explained as %v", e)
			}
			if _, refusal := r.do(approve("i", "e", "")); refusal.GetCode() != v1.Code_CODE_NOT_READY {
				r.t.Errorf("an approval of what is not begun is answered %v", refusal)
			}
			r.drain()
			r.is("i", "RUNNING a=WAITING b=READY c=WAITING d=READY e=WAITING f=PENDING g=PENDING")
		})
	})
	t.Run("cancelled", func(t *testing.T) {
		scenario(t, func(r *rig) {
			start(r)
			r.tell(cancelOf("i"))
			r.is("i", "CANCELLED a=CANCELLED b=CANCELLED c=CANCELLED d=CANCELLED e=CANCELLED f=CANCELLED g=CANCELLED")
			if r.m.todos.Len() > 0 {
				r.t.Error("something is left to be done")
			}
		})
	})
	t.Run("lost", func(t *testing.T) {
		scenario(t, func(r *rig) {
			start(r)
			r.tell(signalOf("i", "s"))
			r.midway()
			r.drain()
			r.is("i", "RUNNING a=COMPLETED b=READY c=SKIPPED d=READY e=WAITING f=READY g=PENDING")
		})
	})
}

// Compensations go on the same way.
func TestWhatIsUndoneIsPostponed(t *testing.T) {
	for _, order := range []string{"parallel", "sequential"} {
		scenario(t, func(r *rig) {
			r.register("workflow: w\ncompensation: " + order + "\n" + strings.TrimPrefix(steps(6, func(int) string { return "queue: q, compensate: {}" }), "workflow: w\n"))
			worker := r.session(600 * second)
			r.start("w", "i", `{}`)
			for _, run := range r.poll(worker, "q", 5) {
				r.done(run, `{}`)
			}
			tired(r)
			r.tell(cancelOf("i"))
			for range 5 {
				r.midway()
				r.drain()
				for _, run := range r.poll(worker, "q", 9) {
					r.done(run, `{}`)
				}
			}
			if i, err := r.m.GetInstance(&v1.GetInstanceRequest{InstanceId: "i"}); err != nil || i.State != v1.InstanceState_INSTANCE_STATE_CANCELLED {
				r.t.Errorf("it is %v, %v", i.GetState(), err)
			}
		})
	}
}

// Below its level nothing is postponed, for older versions do not.
func TestAnOlderLevelPostponesNothing(t *testing.T) {
	r := newRig(t)
	tired(r)
	r.m.group.Level = workLevel - 1
	r.register(unfoldings["a chain that is skipped"].workflow)
	if r.start("w", "i", `{"no":false}`); r.m.todos.Len() > 0 {
		t.Errorf("%d runs are left to be begun", r.m.todos.Len())
	}
}

// A list of which an item fails as it begins, and goes on behind that, has no more items at a time than it may have, and than there are;
// the latter below the level as well, where there was a panic.
func TestAnItemThatEndsAsItBeginsMakesRoomOnce(t *testing.T) {
	for _, level := range []uint32{workLevel - 1, workLevel} {
		scenario(t, func(r *rig) { makesRoomOnce(r, level) })
	}
}

func makesRoomOnce(r *rig, level uint32) {
	r.m.group.Level = level
	r.register(`
workflow: w
steps:
  each:
    forEach:
      in: [1, 2, 3]
      width: 3
      steps:
        a: {when: "item == 3", queue: q}
        b: {when: "item == 2", loop: {while: "item", max: 2, steps: {c: {queue: q}}}}
        d: {needs: [{step: b, ends: failed}], queue: q}
`)
	r.start("w", "i", `{}`)
	r.midway()
	r.runs("i", "RUNNING each/0=WAITING a/0=SKIPPED b/0=SKIPPED d/0=SKIPPED a/1=SKIPPED b/1=FAILED d/1=READY a/2=READY b/2=SKIPPED d/2=SKIPPED")
}
