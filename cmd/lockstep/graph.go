package main

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) workflowGraph() *cobra.Command {
	cmd := c.oneWorkflow("graph [NAME]", "Print a workflow's graph, or who waits for whom, as Mermaid, for a picture", func(w *v1.Workflow) error {
		fmt.Fprintln(c.stdout, "flowchart LR")
		places := map[string]int{}
		list := w.Definition.GetFields()["steps"].GetListValue().GetValues()
		for i, s := range list {
			id := s.GetStructValue().GetFields()["id"].GetStringValue()
			places[id] = i
			fmt.Fprintf(c.stdout, "  s%d[%q]\n", i, id)
			if s.GetStructValue().GetFields()["compensate"] != nil {
				fmt.Fprintf(c.stdout, "  s%d -.-> c%d[%q]\n", i, i, id+".compensate")
			}
			c.drawOthers(i, s.GetStructValue().GetFields())
		}
		for i, s := range list {
			fields := s.GetStructValue().GetFields()
			for _, need := range fields["needs"].GetListValue().GetValues() {
				id, arrow := arrowOf(need)
				fmt.Fprintf(c.stdout, "  s%d %s s%d\n", places[id], arrow, i)
			}
			for _, wait := range fields["race"].GetListValue().GetValues() {
				fmt.Fprintf(c.stdout, "  s%d -. first .-> s%d\n", places[wait.GetStringValue()], i)
			}
		}
		return nil
	})
	ofWorkflow := cmd.RunE
	cmd.Long = "Print the graph of a workflow as Mermaid. Without NAME: which instances wait for which."
	cmd.Args = cobra.MaximumNArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return ofWorkflow(cmd, args)
		}
		return c.printWaits(cmd.Context(), "")
	}
	return cmd
}

// drawOthers draws what the nth step calls, which instance it waits for, and at which barrier.
func (c *cli) drawOthers(n int, step map[string]*structpb.Value) {
	if call := step["call"].GetStructValue(); call != nil {
		fmt.Fprintf(c.stdout, "  s%d == calls ==> w%d[[%q]]\n", n, n, call.GetFields()["workflow"].GetStringValue())
	}
	if await := step["await"].GetStructValue(); await != nil {
		fmt.Fprintf(c.stdout, "  a%d[[%q]] --> s%d\n", n, awaited(await), n)
	}
	if barrier := step["barrier"].GetStructValue(); barrier != nil {
		fmt.Fprintf(c.stdout, "  b%d{{%q}} --> s%d\n", n, "barrier "+barrier.GetFields()["name"].GetStringValue(), n)
	}
}

// awaited says what a step waits for, as the definition does.
func awaited(await *structpb.Struct) string {
	says := await.GetFields()["instance"].GetStringValue()
	for name, value := range await.GetFields()["key"].GetStructValue().GetFields() {
		of := "any"
		switch fields := await.GetFields()["of"]; {
		case fields.GetStringValue() != "":
			of = fields.GetStringValue()
		case fields.GetStructValue() != nil:
			of = fmt.Sprintf("%v", fields.GetStructValue().GetFields()["atLeast"].GetNumberValue())
		}
		says = of + " with " + name + "=" + value.GetStringValue()
	}
	if step := await.GetFields()["step"].GetStringValue(); step != "" {
		return "step " + step + " of " + says
	}
	return says
}

// arrowOf is how a picture shows a need, and whose it is.
func arrowOf(need *structpb.Value) (id, arrow string) {
	fields := need.GetStructValue().GetFields()
	if fields == nil {
		return need.GetStringValue(), "-->"
	}
	says := map[string]string{"failed": "failed", "any": "in any case"}[fields["ends"].GetStringValue()]
	for _, code := range fields["codes"].GetListValue().GetValues() {
		says += " " + code.GetStringValue()
	}
	return fields["step"].GetStringValue(), fmt.Sprintf("-.->|%q|", says)
}

func (c *cli) instanceGraph() *cobra.Command {
	return &cobra.Command{
		Use: "graph ID", Short: "Print who waits for whom as Mermaid, for a picture", Args: cobra.ExactArgs(1),
		Long: "Print which instances wait for which as Mermaid: those that this one waits for, that wait for it, and so on.",
		RunE: func(cmd *cobra.Command, args []string) error { return c.printWaits(cmd.Context(), args[0]) },
	}
}

// printWaits prints who waits for whom: those that hang together with an instance, or all.
func (c *cli) printWaits(ctx context.Context, id string) error {
	res, err := ask(ctx, c, func(a *services) func(context.Context, *connect.Request[v1.ListWaitsRequest]) (*connect.Response[v1.ListWaitsResponse], error) {
		return a.instances.ListWaits
	}, &v1.ListWaitsRequest{Namespace: c.namespace, InstanceId: id})
	if err != nil {
		return err
	}
	return c.print(res, func() { c.drawWaits(res) })
}

// drawWaits draws an arrow for each wait: a thick one to an instance that the step called, a dotted one to one that holds a lock, one that says which
// step where it is for a step, and one to the barrier where it is at one.
func (c *cli) drawWaits(res *v1.ListWaitsResponse) {
	fmt.Fprintln(c.stdout, "flowchart LR")
	p := &waitsPicture{c, map[string]int{}, map[string]int{}, map[string]int{}, map[string]v1.InstanceState{}}
	for _, w := range res.Waits {
		if w.Barrier == "" && w.Key == nil {
			p.states[w.WaitsFor.GetInstanceId()] = w.State
		}
	}
	for _, w := range res.Waits {
		if w.Barrier != "" {
			from, to := p.instance(w.Waits.InstanceId), p.barrier(w)
			fmt.Fprintf(c.stdout, "  i%d -->|%q| b%d\n", from, w.Waits.Step, to)
			continue
		}
		if w.Key != nil {
			from, to := p.instance(w.Waits.InstanceId), p.key(w)
			fmt.Fprintf(c.stdout, "  i%d -->|%q| k%d\n", from, w.Waits.Step, to)
			continue
		}
		from, to := p.instance(w.Waits.InstanceId), p.instance(w.WaitsFor.GetInstanceId())
		arrow, says := "-->", w.Waits.Step
		if w.Called {
			arrow = "==>"
		}
		switch {
		case w.Lock != "":
			arrow, says = "-.->", says+" for lock "+w.Lock
		case w.WaitsFor.GetStep() != "":
			says += " for " + w.WaitsFor.GetStep()
		}
		fmt.Fprintf(c.stdout, "  i%d %s|%q| i%d\n", from, arrow, says, to)
	}
	if res.Omitted {
		fmt.Fprintf(c.stdout, "  %%%% there are more than these %d\n", len(res.Waits))
	}
}

// waitsPicture draws each instance and each barrier where it is needed first.
type waitsPicture struct {
	*cli
	instances, barriers, keys map[string]int
	states                    map[string]v1.InstanceState
}

func (p *waitsPicture) instance(id string) int {
	if at, ok := p.instances[id]; ok {
		return at
	}
	at := len(p.instances)
	p.instances[id] = at
	says := id
	if state, known := p.states[id]; known {
		says += " " + map[bool]string{true: "is not there yet", false: p.state(state)}[state == v1.InstanceState_INSTANCE_STATE_UNSPECIFIED]
	}
	fmt.Fprintf(p.stdout, "  i%d[%q]\n", at, says)
	return at
}

func (p *waitsPicture) barrier(w *v1.Waiting) int {
	if at, ok := p.barriers[w.Barrier]; ok {
		return at
	}
	at := len(p.barriers)
	p.barriers[w.Barrier] = at
	fmt.Fprintf(p.stdout, "  b%d{{%q}}\n", at, fmt.Sprintf("barrier %s, %d of %d", w.Barrier, w.Arrived, w.Parties))
	return at
}

// key draws a key with what is waited for of those that have it.
func (p *waitsPicture) key(w *v1.Waiting) int {
	says := w.Key.Name + "=" + w.Key.Value
	if w.WaitsFor.GetStep() != "" {
		says = "step " + w.WaitsFor.Step + " of " + says
	}
	needed := fmt.Sprint(w.Key.Needed)
	if w.Key.Needed == 0 {
		needed = "all"
	}
	says = fmt.Sprintf("%s, %d done and %d open, needs %s", says, w.Key.Completed, w.Key.Open, needed)
	if at, ok := p.keys[says]; ok {
		return at
	}
	at := len(p.keys)
	p.keys[says] = at
	fmt.Fprintf(p.stdout, "  k%d([%q])\n", at, says)
	return at
}
