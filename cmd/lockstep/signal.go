package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

func (c *cli) instanceSignal() *cobra.Command {
	var payload, input string
	start := &v1.StartInstanceRequest{}
	var keys map[string]string
	var ttl time.Duration
	r := &v1.SendSignalRequest{}
	cmd := &cobra.Command{
		Use: "signal ID NAME | signal NAME --key NAME=VALUE", Short: "Send a signal to an instance, or to who has a key",
		Args: cobra.RangeArgs(1, 2), RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if r.PayloadBytes, err = c.jsonInput("payload", payload); err != nil {
				return err
			}
			if err := receiver(r, args, keys); err != nil {
				return err
			}
			if start.Workflow != "" {
				if start.InputPayload, err = c.jsonInput("input", input); err != nil {
					return err
				}
				r.Start = start
			}
			if r.Namespace = c.namespace; r.SignalId == "" {
				var b [8]byte
				rand.Read(b[:])
				r.SignalId = hex.EncodeToString(b[:])
			}
			if ttl != 0 {
				r.Ttl = durationpb.New(ttl)
			}
			res, err := ask(cmd.Context(), c, func(a *services) func(context.Context, *connect.Request[v1.SendSignalRequest]) (*connect.Response[v1.SendSignalResponse], error) {
				return a.instances.SendSignal
			}, r)
			if err != nil {
				return err
			}
			return c.print(res, func() { fmt.Fprintln(c.stdout, saySignal(r, res)) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.SignalId, "signal-id", "", "makes sending it again harmless; default: made up")
	f.StringVar(&payload, "payload", "", "payload as JSON, @FILE, or -")
	f.DurationVar(&ttl, "ttl", 0, "how long it is kept while nothing waits for it; default: 7 days")
	f.StringToStringVar(&keys, "key", nil, "send it by this correlation key, name=value, and not to an id")
	f.StringVar(&start.Workflow, "start", "", "with --key: the workflow to start when no live instance has the key")
	f.StringVar(&start.InstanceId, "start-id", "", "id of what is started; default: NAME/VALUE of the key")
	f.StringVar(&input, "start-input", "", "input of what is started, as JSON, @FILE, or -")
	f.BoolVar(&r.Broadcast, "broadcast", false, "to all that have the key")
	return cmd
}

// receiver reads to whom a signal goes: ID NAME, or NAME and a key.
func receiver(r *v1.SendSignalRequest, args []string, keys map[string]string) error {
	switch {
	case len(args) == 2 && len(keys) == 0 && !r.Broadcast:
		r.InstanceId, r.Name = args[0], args[1]
		return nil
	case len(args) == 1 && len(keys) == 1:
		r.Name = args[0]
		for name, value := range keys {
			r.Key = &v1.Key{Name: name, Value: value}
		}
		return nil
	}
	return usage("a signal goes to an instance: signal ID NAME; or by one key: signal NAME --key NAME=VALUE")
}

func saySignal(r *v1.SendSignalRequest, res *v1.SendSignalResponse) string {
	to := ""
	if res.InstanceId != "" {
		to = " by " + res.InstanceId
	}
	switch {
	case res.Duplicate:
		return "was sent before"
	case r.Broadcast:
		return fmt.Sprintf("reached %d instances", res.Reached)
	case res.Started:
		return "started " + res.InstanceId
	case res.Delivered && to != "":
		return "delivered to " + res.InstanceId
	case res.Delivered:
		return "delivered"
	case r.Key != nil && to == "":
		return fmt.Sprintf("kept until an instance is started with the key %s=%s", r.Key.Name, r.Key.Value)
	}
	return "kept" + to + " until a step waits for it"
}
