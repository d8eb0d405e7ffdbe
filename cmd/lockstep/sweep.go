package main

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/lockstep-dev/lockstep/client"
	"github.com/lockstep-dev/lockstep/cluster"
	"github.com/lockstep-dev/lockstep/fsm"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	"github.com/lockstep-dev/lockstep/transport/sweep"
)

// hostsFlag says which hosts a node may ask about runs.
func hostsFlag(f *pflag.FlagSet, hosts *[]string) {
	f.StringSliceVar(hosts, "reporter-hosts", nil, "hosts that reporters may be asked at, HOST or HOST:PORT, the same on every node; none: nothing is asked")
}

// sweeping is a node as the sweep sees it.
type sweeping struct{ *cluster.Node }

func (n sweeping) Leads() bool {
	_, self := n.Leader("")
	return self
}

func (n sweeping) Swept(ctx context.Context) (names []string, err error) {
	_, err = n.Read(ctx, "", v1.Consistency_CONSISTENCY_STALE, func(m *fsm.Machine) error {
		names = m.Swept()
		return nil
	})
	return names, err
}

// openSweep has reporters be asked while this node leads, if it may ask any host.
func (s *server) openSweep(hosts *sweep.Hosts) (err error) {
	if hosts.Empty() {
		return nil
	}
	own, carrier := s.listen.Addr().String(), newHTTPClient()
	s.sweep, err = sweep.Open(sweep.Config{
		Node: sweeping{s.node}, Hosts: hosts, Name: s.node.ID(), Logger: s.logger.Named("sweep"),
		Client: func(namespace string) (*client.Client, error) {
			return client.New(client.Config{Servers: []string{own}, Namespace: namespace, Author: sweep.Lock, HTTPClient: carrier})
		},
	})
	if err != nil {
		return err
	}
	c := s.sweep.Counts()
	s.metrics.Sweep(c.Asked.Load, c.Answered.Load, c.Failed.Load, c.Runs.Load, c.Reported.Load, c.Refused.Load)
	return nil
}
