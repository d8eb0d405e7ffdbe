package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// madeUp is a name that nobody else has.
func madeUp() string {
	var b [6]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// conflictOf reads what becomes of a start whose id is taken, and makes up a name for one that needs one.
func conflictOf(r *v1.StartInstanceRequest, on string) error {
	if on == "" {
		return nil
	}
	value, ok := v1.OnConflict_value["ON_CONFLICT_"+strings.ToUpper(on)]
	if !ok || value == 0 {
		return usage("--on-conflict %q is none; there are existing, fail, queue and replace", on)
	}
	r.OnConflict = v1.OnConflict(value)
	if r.StartId == "" && r.OnConflict >= v1.OnConflict_ON_CONFLICT_QUEUE {
		r.StartId = madeUp()
	}
	return nil
}

func (c *cli) instanceStart() *cobra.Command {
	r := &v1.StartInstanceRequest{}
	var input, on string
	var wait bool
	cmd := &cobra.Command{
		Use: "start WORKFLOW", Short: "Start an instance; the same id again finds the first", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.InputPayload, err = c.jsonInput("input", input); err != nil {
				return err
			}
			if r.Namespace, r.Workflow = c.namespace, args[0]; r.InstanceId == "" {
				r.InstanceId = args[0] + "-" + madeUp()
			}
			if err := conflictOf(r, on); err != nil {
				return err
			}
			res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.StartInstanceRequest]) (*connect.Response[v1.StartInstanceResponse], error) {
				return a.instances.StartInstance
			}, r)
			if err != nil {
				return err
			}
			if wait {
				return c.waitInstance(cmd.Context(), res.InstanceId, 0)
			}
			return c.print(res, func() { c.sayStarted(res) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.InstanceId, "id", "", "id of the instance; default: made up, and then a retry starts another")
	f.StringVar(&input, "input", "", "input as JSON, @FILE, or -")
	f.Int32Var(&r.Version, "version", 0, "version of the workflow; default: the newest")
	f.StringToStringVar(&r.Labels, "label", nil, "labels, name=value")
	f.StringToStringVar(&r.Keys, "key", nil, "correlation keys, name=value")
	f.StringVar(&on, "on-conflict", "", "when the id is taken: existing, fail, queue or replace; default: the same start finds the first, another is refused")
	f.StringVar(&r.StartId, "start-id", "", "names this start among those of the id, which are called ID~START; default, to queue or replace: made up, and then a retry starts another")
	f.BoolVar(&wait, "wait", false, "wait for its end")
	return cmd
}

func (c *cli) sayStarted(res *v1.StartInstanceResponse) {
	what := "started"
	if res.Existing {
		what = "was there already"
	}
	state := c.state(res.State)
	if res.Place > 0 {
		state += fmt.Sprintf(", number %d of those that wait for the id", res.Place)
		if !res.Existing {
			what = "waits"
		}
	}
	fmt.Fprintf(c.stdout, "%s  %s (%s)\nfollow it:  lockstep instance show %s\n", res.InstanceId, what, state, res.InstanceId)
}

// showLine says who has the id of an instance, and who waits for it.
func (c *cli) showLine(i *v1.Instance) {
	l := i.Line
	if l == nil {
		return
	}
	if l.Id != i.InstanceId {
		fmt.Fprintf(c.stdout, "start  %s of id %s\n", l.StartId, l.Id)
	}
	if l.Holder != i.InstanceId {
		fmt.Fprintf(c.stdout, "the id is that of  %s\n", l.Holder)
	}
	if len(l.Queued) > 0 {
		fmt.Fprintf(c.stdout, "waiting for the id  %s\n", strings.Join(l.Queued, ", "))
	}
}
