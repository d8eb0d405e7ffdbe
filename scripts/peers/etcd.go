package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// etcdNode is one process of three, with its data on disk and the defaults of the release.
type etcdNode struct{ name, dir, client, peer, cluster *string }

func nodeFlags(f *flag.FlagSet) etcdNode {
	return etcdNode{
		f.String("name", "", "of a node"), f.String("dir", "", "of its data"), f.String("client", "", "its address for clients"),
		f.String("peer", "", "its address for the others"), f.String("cluster", "", "all of them"),
	}
}

func (n etcdNode) serve(ctx context.Context) error {
	c := embed.NewConfig()
	c.Name, c.Dir, c.InitialCluster, c.LogLevel = *n.name, *n.dir, *n.cluster, "fatal"
	client, err := url.Parse("http://" + *n.client)
	if err != nil {
		return err
	}
	peer, err := url.Parse("http://" + *n.peer)
	if err != nil {
		return err
	}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	server, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	defer server.Close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-server.Err():
		return err
	}
}

// etcdCluster runs until close.
type etcdCluster struct {
	dir    string
	names  []string
	nodes  []*exec.Cmd
	client *clientv3.Client
	urls   []string
}

func startEtcd(ctx context.Context) (c *etcdCluster, err error) {
	c = &etcdCluster{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.dir, err = os.MkdirTemp("", "peers-etcd"); err != nil {
		return c, err
	}
	addresses, err := freeAddresses(6)
	if err != nil {
		return c, err
	}
	var cluster []string
	for i := range 3 {
		c.names = append(c.names, fmt.Sprint("n", i))
		cluster = append(cluster, fmt.Sprintf("n%d=http://%s", i, addresses[3+i]))
		c.urls = append(c.urls, addresses[i])
	}
	self, err := os.Executable()
	if err != nil {
		return c, err
	}
	for i := range 3 {
		cmd := exec.Command(self, "etcd-node", "--name", c.names[i], "--dir", filepath.Join(c.dir, c.names[i]),
			"--client", addresses[i], "--peer", addresses[3+i], "--cluster", strings.Join(cluster, ","))
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return c, err
		}
		c.nodes = append(c.nodes, cmd)
	}
	c.client, err = c.newClient()
	if err != nil {
		return c, err
	}
	ready, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if _, err = c.client.Put(ready, "ready", ""); err == nil || ready.Err() != nil {
			return c, err
		}
	}
}

func (c *etcdCluster) newClient() (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: c.urls, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
}

func (c *etcdCluster) close() error {
	var errs []error
	if c.client != nil {
		errs = append(errs, c.client.Close())
	}
	for _, cmd := range c.nodes {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // it was killed
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

func freeAddresses(n int) (out []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out, nil
}

// etcd measures each load on a cluster of its own.
func etcd(ctx context.Context, o options) (figures []figure, err error) {
	for _, load := range []func(context.Context, options, *etcdCluster) (figure, error){
		etcdPuts(64), etcdPuts(256), etcdCycles(64), etcdCycles(256), etcdLocks(256), etcdHandOvers(64),
	} {
		c, err := startEtcd(ctx)
		if err != nil {
			return nil, err
		}
		f, err := load(ctx, o, c)
		if err = errors.Join(err, c.close()); err != nil {
			return nil, err
		}
		figures = append(figures, f)
	}
	return figures, nil
}

func etcdPuts(clients int) func(context.Context, options, *etcdCluster) (figure, error) {
	return func(ctx context.Context, o options, c *etcdCluster) (figure, error) {
		var n atomic.Int64
		return o.measure(ctx, "put", clients, func(ctx context.Context, _ int) (bool, error) {
			_, err := c.client.Put(ctx, fmt.Sprint("key/", n.Add(1)), string(o.payload))
			return true, err
		})
	}
}

// etcdCycles leases a step and completes it, each by a transaction that compares the step's revision, as a careful user
// would: leased under a lease of etcd's, completed with the output and the next step made ready. Each client has
// workflows of ten steps of its own and knows what is ready, so that nobody polls and no transaction fails.
func etcdCycles(clients int) func(context.Context, options, *etcdCluster) (figure, error) {
	const steps = 10
	return func(ctx context.Context, o options, c *etcdCluster) (figure, error) {
		session, err := c.client.Grant(ctx, 60)
		if err != nil {
			return figure{}, err
		}
		type place struct {
			workflow, step int
			revision       int64
		}
		places := make([]place, clients)
		return o.measure(ctx, "lease and complete a step", clients, func(ctx context.Context, client int) (ok bool, err error) {
			p := &places[client]
			defer func() {
				if !ok { // nobody knows what became of it: on with the next workflow
					p.workflow, p.step = p.workflow+1, 0
				}
			}()
			key := func(step int) string { return fmt.Sprintf("w/%d/%d/%d", client, p.workflow, step) }
			if p.step == 0 { // the start of a workflow is part of its first cycle
				put, err := c.client.Put(ctx, key(0), "ready "+string(o.payload))
				if err != nil {
					return false, err
				}
				p.revision = put.Header.Revision
			}
			leased, err := c.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key(p.step)), "=", p.revision)).
				Then(clientv3.OpPut(key(p.step), "leased "+string(o.payload), clientv3.WithLease(session.ID))).Commit()
			if err != nil || !leased.Succeeded {
				return false, err
			}
			then := []clientv3.Op{clientv3.OpPut(key(p.step), "done "+string(o.payload))}
			if p.step+1 < steps {
				then = append(then, clientv3.OpPut(key(p.step+1), "ready "+string(o.payload)))
			}
			done, err := c.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key(p.step)), "=", leased.Header.Revision)).Then(then...).Commit()
			if err != nil || !done.Succeeded {
				return false, err
			}
			if p.revision, p.step = done.Header.Revision, p.step+1; p.step == steps {
				p.workflow, p.step = p.workflow+1, 0
			}
			return true, nil
		})
	}
}

// etcdLocks locks and unlocks keys that nobody else wants, by the recipe of etcd's own client.
func etcdLocks(clients int) func(context.Context, options, *etcdCluster) (figure, error) {
	return func(ctx context.Context, o options, c *etcdCluster) (figure, error) {
		return locks(ctx, o, c, "lock and unlock own keys", clients, func(client int) string { return fmt.Sprint("lock/", client) })
	}
}

// etcdHandOvers has clients want one lock.
func etcdHandOvers(clients int) func(context.Context, options, *etcdCluster) (figure, error) {
	return func(ctx context.Context, o options, c *etcdCluster) (figure, error) {
		return locks(ctx, o, c, "hand over one lock", clients, func(int) string { return "lock/one" })
	}
}

func locks(ctx context.Context, o options, c *etcdCluster, load string, clients int, key func(client int) string) (figure, error) {
	held := make([]*concurrency.Mutex, clients)
	for i := range held {
		session, err := concurrency.NewSession(c.client, concurrency.WithTTL(60))
		if err != nil {
			return figure{}, err
		}
		held[i] = concurrency.NewMutex(session, key(i))
	}
	return o.measure(ctx, load, clients, func(ctx context.Context, client int) (bool, error) {
		if err := held[client].Lock(ctx); err != nil {
			return false, err
		}
		return true, held[client].Unlock(context.WithoutCancel(ctx))
	})
}
