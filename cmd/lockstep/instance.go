package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const maxInput = 1 << 20

func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err == nil && len(b) > maxInput {
		err = fmt.Errorf("the input is over %d bytes", maxInput)
	}
	return b, err
}

// jsonInput reads a payload from a flag: JSON text, @FILE, or - for the standard input.
func (c *cli) jsonInput(flag, s string) (*v1.Payload, error) {
	if s == "" {
		return nil, nil
	}
	b := []byte(s)
	var err error
	switch {
	case s == "-":
		b, err = readAll(c.stdin)
	case s[0] == '@':
		b, err = c.readFile(s[1:])
	}
	if err != nil {
		return nil, err
	}
	if (&structpb.Value{}).UnmarshalJSON(b) != nil {
		return nil, usage("--%s is not JSON: %s", flag, short(string(b), 60))
	}
	return &v1.Payload{Bytes: b}, nil
}

func (c *cli) instanceCommand() *cobra.Command {
	parent := &cobra.Command{Use: "instance", Short: "Start, follow and steer instances of workflows"}
	parent.AddCommand(c.instanceStart(), c.instanceWait(), c.instanceList(), c.instanceShow(), c.instanceHistory(),
		c.instanceWatch(), c.instancePause(), c.instanceResume(), c.instanceCancel(), c.instanceCompensate(), c.instanceFork(), c.instanceReset(), c.instanceSignal(), c.instanceApprove(), c.instanceReject(),
		c.instanceExplain(), c.instanceGraph(), c.instanceExport())
	return parent
}

func (c *cli) state(s v1.InstanceState) string {
	name := strings.TrimPrefix(s.String(), "INSTANCE_STATE_")
	switch s {
	case v1.InstanceState_INSTANCE_STATE_COMPLETED:
		return c.paint(green, name)
	case v1.InstanceState_INSTANCE_STATE_FAILED, v1.InstanceState_INSTANCE_STATE_FAILING:
		return c.paint(red, name)
	case v1.InstanceState_INSTANCE_STATE_RUNNING:
		return c.paint(blue, name)
	}
	return c.paint(yellow, name)
}

func (c *cli) instanceWait() *cobra.Command {
	var limit time.Duration
	cmd := &cobra.Command{Use: "wait ID", Short: "Wait for an instance's end; its failure is status 1", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return c.waitInstance(cmd.Context(), args[0], limit)
	}}
	cmd.Flags().DurationVar(&limit, "timeout", 0, "how long at most; default: for ever")
	return cmd
}

func (c *cli) waitInstance(ctx context.Context, id string, limit time.Duration) error {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	update, done := c.progress("waiting for " + id)
	defer done()
	for {
		res, err := ask(ctx, c, func(a *services) func(context.Context, *connect.Request[v1.WaitInstanceRequest]) (*connect.Response[v1.WaitInstanceResponse], error) {
			return a.instances.WaitInstance
		}, &v1.WaitInstanceRequest{Namespace: c.namespace, InstanceId: id, Wait: durationpb.New(10 * time.Second)})
		switch {
		case ctx.Err() != nil && limit > 0:
			return fmt.Errorf("%s has not ended within %s; `lockstep instance explain %s` tells what it waits for", id, limit, id)
		case err != nil && retryable(err) && ctx.Err() == nil:
			select {
			case <-time.After(300 * time.Millisecond):
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		case err != nil:
			return err
		case res.Done:
			done()
			if err := c.showInstance(res.Instance); err != nil {
				return err
			}
			if res.Instance.State != v1.InstanceState_INSTANCE_STATE_COMPLETED {
				return &exitError{code: exitFailed}
			}
			return nil
		}
		update(strings.TrimPrefix(res.Instance.State.String(), "INSTANCE_STATE_"))
	}
}

// retryable: a wait may go on asking.
func retryable(err error) bool {
	var gone *unreachable
	if errors.As(err, &gone) {
		return true
	}
	code := connect.CodeOf(err)
	return code == connect.CodeUnavailable || code == connect.CodeAborted
}

func (c *cli) getInstance(ctx context.Context, id string) (*v1.Instance, error) {
	return ask(ctx, c, func(a *services) func(context.Context, *connect.Request[v1.GetInstanceRequest]) (*connect.Response[v1.Instance], error) {
		return a.instances.GetInstance
	}, &v1.GetInstanceRequest{Namespace: c.namespace, InstanceId: id})
}

func (c *cli) instanceShow() *cobra.Command {
	return &cobra.Command{Use: "show ID", Short: "Show an instance and its graph with states", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		i, err := c.getInstance(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return c.showInstance(i)
	}}
}

// showInstance draws the graph: each step below what it needs, with a mark for its state.
func (c *cli) showInstance(i *v1.Instance) error {
	return c.print(i, func() {
		fmt.Fprintf(c.stdout, "%s  %s version %d  %s\n", i.InstanceId, i.Workflow, i.Version, c.state(i.State))
		if p := i.Parent; p != nil {
			fmt.Fprintf(c.stdout, "called by  %s of %s\n", p.Step, p.InstanceId)
		}
		c.showLine(i)
		c.showFork(i)
		if p := i.Pause; p != nil {
			fmt.Fprintf(c.stdout, "paused  %s by %s: %s\n", when(p.Since), cmp.Or(p.By, "somebody"), p.Reason)
		}
		if s := i.Resolution; s != nil {
			fmt.Fprintf(c.stdout, "resolved  %s by %s: %s\n", when(s.At), cmp.Or(s.By, "somebody"), s.Reason)
		}
		if i.Reason != "" {
			fmt.Fprintf(c.stdout, "reason  %s %s\n", i.Code, i.Reason)
		}
		if i.Remaining != nil {
			fmt.Fprintf(c.stdout, "fails in  %s, unless it has ended\n", i.Remaining.AsDuration().Round(time.Second))
		}
		depths := depthsOf(i.Runs)
		for _, r := range i.Runs {
			mark, colour := markOf(r.State)
			line := strings.Repeat("  ", depths[r.Step]) + c.paint(colour, mark) + " " + runName(r)
			detail := strings.ToLower(strings.TrimPrefix(r.State.String(), "RUN_STATE_"))
			if r.Copied {
				detail += ", copied"
			}
			if r.Attempt > 1 {
				detail += fmt.Sprintf(", attempt %d", r.Attempt)
			}
			if r.Inside != "" {
				detail += fmt.Sprintf(", %d of %s", r.Place+1, r.Inside)
			}
			if r.Compensates != "" {
				detail += ", undoes " + r.Compensates
			}
			if len(r.Needs) > 0 {
				detail += ", after " + strings.Join(r.Needs, ", ")
			}
			if r.Role != "" {
				detail += ", approval of " + r.Role
			}
			switch {
			case r.AwaitedKey != "":
				detail += ", waits by " + strings.TrimSpace(r.AwaitedKey+" "+r.OtherStep)
			case r.OtherStep != "":
				detail += fmt.Sprintf(", waits for %s of %s", r.OtherStep, r.OtherInstance)
			case r.OtherInstance != "":
				detail += ", " + r.OtherInstance
			case r.Barrier != "":
				detail += ", at barrier " + r.Barrier
			}
			if r.Reason != "" {
				detail += ": " + short(strings.TrimSpace(r.Code+" "+r.Reason), 80)
			}
			fmt.Fprintf(c.stdout, "%s  %s\n", line, c.paint(grey, detail))
		}
		if i.Output != nil {
			b, err := i.Output.MarshalJSON()
			if err == nil {
				fmt.Fprintf(c.stdout, "output  %s\n", b)
			}
		}
	})
}

// runName is the step, and of a run inside another step which one it is.
func runName(r *v1.Run) string {
	if r.Inside == "" && r.Index == 0 {
		return r.Step
	}
	return fmt.Sprintf("%s/%d", r.Step, r.Index)
}

// depthsOf are how far to the right steps are drawn: behind what they need, and behind the step that they are inside of.
func depthsOf(runs []*v1.Run) map[string]int {
	depths := make(map[string]int, len(runs))
	for range runs { // needs may stand below in the file
		moved := false
		for _, r := range runs {
			needs := r.Needs
			if r.Inside != "" {
				needs = append(slices.Clone(needs), r.Inside)
			}
			for _, need := range needs {
				if d := min(depths[need]+1, 20); d > depths[r.Step] {
					depths[r.Step], moved = d, true
				}
			}
		}
		if !moved {
			break
		}
	}
	return depths
}

func markOf(s v1.RunState) (mark, colour string) {
	switch s {
	case v1.RunState_RUN_STATE_COMPLETED:
		return "●", green
	case v1.RunState_RUN_STATE_LEASED:
		return "◐", blue
	case v1.RunState_RUN_STATE_READY, v1.RunState_RUN_STATE_WAITING:
		return "○", blue
	case v1.RunState_RUN_STATE_BACKOFF:
		return "↻", yellow
	case v1.RunState_RUN_STATE_FAILED, v1.RunState_RUN_STATE_INCIDENT:
		return "✗", red
	case v1.RunState_RUN_STATE_SKIPPED, v1.RunState_RUN_STATE_CANCELLED:
		return "–", grey
	}
	return "·", grey
}

func (c *cli) instanceCancel() *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: "cancel ID", Short: "Cancel an instance", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.CancelInstanceRequest]) (*connect.Response[v1.CancelInstanceResponse], error) {
			return a.instances.CancelInstance
		}, &v1.CancelInstanceRequest{Namespace: c.namespace, InstanceId: args[0], Reason: reason})
		if err != nil {
			return err
		}
		return c.print(res, func() { fmt.Fprintf(c.stdout, "%s  %s\n", args[0], c.state(res.State)) })
	}}
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}

func (c *cli) instanceExplain() *cobra.Command {
	var step string
	var index int32
	cmd := &cobra.Command{Use: "explain ID", Short: "Say why an instance does not move", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.ExplainRequest]) (*connect.Response[v1.ExplainResponse], error) {
			return a.instances.Explain
		}, &v1.ExplainRequest{Namespace: c.namespace, InstanceId: args[0], Step: step, Index: index})
		if err != nil {
			return err
		}
		return c.print(res, func() {
			for _, e := range res.Explanations {
				fmt.Fprintf(c.stdout, "%s  %s\n", c.paint(yellow, strings.TrimPrefix(e.Code.String(), "EXPLAIN_CODE_")), e.Sentence)
			}
		})
	}}
	cmd.Flags().StringVar(&step, "step", "", "only this step")
	ofIndex(cmd, &index)
	return cmd
}
