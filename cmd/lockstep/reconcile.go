package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) reconcileCommand() *cobra.Command {
	parent := &cobra.Command{Use: "reconcile", Short: "Compare what other systems have observed with what is recorded, and settle what differs"}
	parent.AddCommand(c.reconcileReport(), c.reconcileList(), c.reconcilePlan(), c.reconcileApply())
	return parent
}

func driftClass(d v1.DriftClass) string {
	if d == v1.DriftClass_DRIFT_CLASS_UNSPECIFIED {
		return "agrees"
	}
	return strings.TrimPrefix(d.String(), "DRIFT_CLASS_")
}

func observedState(s v1.ObservedState) string {
	return strings.TrimPrefix(s.String(), "OBSERVED_STATE_")
}

func reconcileAction(a v1.ReconcileAction) string {
	return strings.ToLower(strings.TrimPrefix(a.String(), "RECONCILE_ACTION_"))
}

func (c *cli) reconcileReport() *cobra.Command {
	r := &v1.ReportObservationRequest{}
	var state, output, at, byKey string
	cmd := &cobra.Command{
		Use: "report [INSTANCE] STEP", Short: "Say what a reporter has observed of a step", Args: cobra.RangeArgs(1, 2),
		Long: "Say what a reporter has observed of a step of an instance, which is named by its id or with --key by a correlation key. The same observation again changes nothing; of two about one step the newer by --at counts.",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			r.Namespace, r.Step = c.namespace, args[len(args)-1]
			switch name, value, is := strings.Cut(byKey, "="); {
			case (len(args) == 2) == (byKey != ""):
				return usage("name the instance by its id, or with --key NAME=VALUE")
			case byKey == "":
				r.InstanceId = args[0]
			case !is || name == "" || value == "":
				return usage("--key is NAME=VALUE, not %q", byKey)
			default:
				r.Key = &v1.Key{Name: name, Value: value}
			}
			number, is := v1.ObservedState_value["OBSERVED_STATE_"+strings.ToUpper(state)]
			if !is || number == 0 {
				return usage("state %q is none: absent, pending, running, completed or failed", state)
			}
			r.State, r.ObservedAt = v1.ObservedState(number), timestamppb.Now()
			if at != "" {
				seen, err := time.Parse(time.RFC3339Nano, at)
				if err != nil {
					return usage("--at is a time as 2026-01-02T15:04:05Z, not %q", at)
				}
				r.ObservedAt = timestamppb.New(seen)
			}
			if output != "" {
				if r.OutputPayload, err = c.jsonInput("output", output); err != nil {
					return err
				}
			}
			res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ReportObservationRequest]) (*connect.Response[v1.ReportObservationResponse], error) {
				return a.reconcile.ReportObservation
			}, r)
			if err != nil {
				return err
			}
			return c.print(res, func() {
				how := "reported"
				if res.Duplicate {
					how = "reported before"
				} else if res.Superseded {
					how = "superseded by a newer one"
				}
				fmt.Fprintf(c.stdout, "%s; %s\n", how, driftClass(res.Drift))
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Reporter, "reporter", "", "who has observed it; required")
	f.StringVar(&r.ObservationId, "id", "", "what the reporter calls this observation; required")
	f.StringVar(&state, "state", "", "absent, pending, running, completed or failed; required")
	f.StringVar(&byKey, "key", "", "NAME=VALUE of a correlation key, in the place of an id")
	f.StringVar(&at, "at", "", "when it was so, by the reporter's clock (now)")
	f.StringVar(&output, "output", "", "of what is completed: output as JSON, @FILE, or -")
	f.StringVar(&r.Code, "code", "", "of what is failed: its code")
	f.StringVar(&r.Execution, "execution", "", "what the reporter's system calls what it completed; two are a duplicate")
	f.StringVar(&r.Evidence, "evidence", "", "how the reporter knows")
	ofIndex(cmd, &r.Index)
	for _, name := range []string{"reporter", "id", "state"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err)
		}
	}
	return cmd
}

func (c *cli) reconcileList() *cobra.Command {
	r := &v1.ListObservationsRequest{}
	cmd := &cobra.Command{Use: "list", Short: "List what is kept of what reporters have observed", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		r.Namespace = c.namespace
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ListObservationsRequest]) (*connect.Response[v1.ListObservationsResponse], error) {
			return a.reconcile.ListObservations
		}, r)
		if err != nil {
			return err
		}
		return c.print(res, func() {
			w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "INSTANCE\tSTEP\tREPORTER\tOBSERVED\tDRIFT\tSETTLED")
			for _, o := range res.Observations {
				settled := "-"
				if o.Settled != 0 {
					settled = reconcileAction(o.Settled)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", observedOf(o.InstanceId, o.Key), runOf(o.Step, o.Index), o.Reporter, observedState(o.State), driftClass(o.Drift), settled)
			}
			w.Flush()
			if res.NextPage != "" {
				fmt.Fprintf(c.stdout, "and more: --page %s\n", res.NextPage)
			}
		})
	}}
	f := cmd.Flags()
	f.StringVar(&r.InstanceId, "instance", "", "only of this instance")
	f.Int32Var(&r.Limit, "limit", 100, "how many, up to 1000")
	f.StringVar(&r.Page, "page", "", "go on behind a page")
	return cmd
}

// observedOf names what an observation is about: an instance, or a key that no instance has.
func observedOf(id string, key *v1.Key) string {
	if id == "" {
		return key.GetName() + "=" + key.GetValue()
	}
	return id
}

func runOf(step string, index int32) string {
	if index > 0 {
		step += fmt.Sprint("#", index)
	}
	return step
}

// policies reads CLASS=ACTION, or ACTION for all.
func policies(given []string) (out []*v1.ReconcilePolicy, err error) {
	for _, s := range given {
		class, action, is := strings.Cut(s, "=")
		if !is {
			class, action = "", s
		}
		number, known := v1.DriftClass_value["DRIFT_CLASS_"+strings.ToUpper(class)]
		if class != "" && (!known || number == 0) {
			return nil, usage("%q is no class of drift: ahead, behind, missing, duplicate, orphan or conflicting", class)
		}
		to, known := v1.ReconcileAction_value["RECONCILE_ACTION_"+strings.ToUpper(action)]
		if !known || to == 0 {
			return nil, usage("%q is nothing to do about drift: adopt, rerun, compensate, incident or ignore", action)
		}
		out = append(out, &v1.ReconcilePolicy{Drift: v1.DriftClass(number), Action: v1.ReconcileAction(to)})
	}
	return out, nil
}

func (c *cli) reconcilePlan() *cobra.Command {
	r := &v1.PlanReconcileRequest{}
	var given []string
	var class, out string
	cmd := &cobra.Command{
		Use: "plan", Short: "Show what would be done about drift; nothing is done", Args: cobra.NoArgs,
		Long: "Show what would be done about drift. Nothing is done: write the plan to a file with --out, look at it, and apply that. Without a --policy that says what to do about a class of drift, a person is to decide.",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if r.Policies, err = policies(given); err != nil {
				return err
			}
			if r.Namespace = c.namespace; class != "" {
				number, is := v1.DriftClass_value["DRIFT_CLASS_"+strings.ToUpper(class)]
				if !is || number == 0 {
					return usage("%q is no class of drift: ahead, behind, missing, duplicate, orphan or conflicting", class)
				}
				r.Drift = v1.DriftClass(number)
			}
			plan, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.PlanReconcileRequest]) (*connect.Response[v1.ReconcilePlan], error) {
				return a.reconcile.PlanReconcile
			}, r)
			if err != nil {
				return err
			}
			if out != "" {
				b, err := protojson.MarshalOptions{Multiline: true}.Marshal(plan)
				if err != nil {
					return err
				}
				if err := os.WriteFile(out, append(b, '\n'), 0o644); err != nil {
					return err
				}
			}
			return c.print(plan, func() { c.sayPlan(plan) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.InstanceId, "instance", "", "only drift of this instance")
	f.StringVar(&r.Workflow, "workflow", "", "only drift of instances of a workflow")
	f.StringVar(&r.Step, "step", "", "only drift of this step")
	f.StringVar(&r.Reporter, "reporter", "", "only what this reporter has observed")
	f.StringVar(&class, "drift", "", "only drift of a class")
	f.StringArrayVar(&given, "policy", nil, "CLASS=ACTION, or ACTION for every class; the first that matches counts. Actions: adopt, rerun, compensate, incident, ignore")
	f.StringVar(&out, "out", "", "write the plan to a file")
	return cmd
}

// sayPlan says what a plan does, a line an action, each with why.
func (c *cli) sayPlan(p *v1.ReconcilePlan) {
	if len(p.Actions) == 0 {
		fmt.Fprintln(c.stdout, "nothing to do")
		return
	}
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "INSTANCE\tSTEP\tDRIFT\tACTION\tWHY")
	for _, a := range p.Actions {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", observedOf(a.InstanceId, a.Key), runOf(a.Step, a.Index), driftClass(a.Drift), reconcileAction(a.Action), a.Because)
	}
	w.Flush()
	fmt.Fprintf(c.stdout, "plan %s, made at position %d\n", p.PlanId, p.Position)
	if p.More {
		fmt.Fprintln(c.stdout, "there is more drift than one plan takes: apply this one, and plan again")
	}
}

func (c *cli) reconcileApply() *cobra.Command {
	r := &v1.ApplyPlanRequest{}
	cmd := &cobra.Command{
		Use: "apply PLAN_FILE", Short: "Do what a plan says, if nothing that it touches has moved", Args: cobra.ExactArgs(1),
		Long: "Do what a plan says, as `lockstep reconcile plan --out` has written it (- is standard input). It is refused as STALE_PLAN when what it touches has moved since it was made; applied again it changes nothing.",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			var b []byte
			if args[0] == "-" {
				b, err = io.ReadAll(c.stdin)
			} else {
				b, err = os.ReadFile(args[0])
			}
			if err != nil {
				return err
			}
			r.Namespace, r.Plan = c.namespace, &v1.ReconcilePlan{}
			if err := protojson.Unmarshal(b, r.Plan); err != nil {
				return fmt.Errorf("%s is no plan: %w", args[0], err)
			}
			res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ApplyPlanRequest]) (*connect.Response[v1.ApplyPlanResponse], error) {
				return a.reconcile.ApplyPlan
			}, r)
			if err != nil {
				return err
			}
			return c.print(res, func() { c.sayApplied(res) })
		},
	}
	return withReason(cmd, &r.Reason)
}

func (c *cli) sayApplied(res *v1.ApplyPlanResponse) {
	if res.Duplicate {
		fmt.Fprintf(c.stdout, "applied before, at position %d; nothing was done now\n", res.Position)
		return
	}
	for _, a := range res.Applied {
		how := "done"
		if a.Token > 0 {
			how += fmt.Sprintf(" under token %d", a.Token)
		}
		if !a.Done {
			how = "not done: " + a.Because
		}
		fmt.Fprintf(c.stdout, "%s  %s  %s: %s\n", a.InstanceId, runOf(a.Step, a.Index), reconcileAction(a.Action), how)
	}
}
