package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lockstep-dev/lockstep/cluster"
	"github.com/lockstep-dev/lockstep/cluster/gossip"
	"github.com/lockstep-dev/lockstep/cluster/join"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
	"github.com/lockstep-dev/lockstep/transport/api"
	"github.com/lockstep-dev/lockstep/transport/peer"
	"github.com/lockstep-dev/lockstep/transport/sweep"
)

// serverConfig is what a server is told.
type serverConfig struct {
	data, nodeID         string
	listen, peer, gossip string
	advertise            string // a host
	join                 []string
	expect               int
	secretFile           string
	insecure             bool
	logLevel             string
	engine               string
	heartbeat            time.Duration
	logBytes             int64
	pprof                bool          // gives profiles of itself
	reporterHosts        []string      // which may be asked about runs
	plant                string        // a bug
	untilEOF             bool          // ends with the standard input
	started              func(*server) // told when the ports are open
}

func (c *cli) serverCommand() *cobra.Command {
	config := &serverConfig{}
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a node of a cluster",
		Long: `Run a node of a cluster. Three new nodes with --bootstrap-expect 3 that find each other by --join make a cluster;
a new node that finds one is added to it. A node keeps its id and its place in its data directory.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.serve(cmd.Context(), config) },
	}
	plantFlag(cmd, &config.plant)
	f := cmd.Flags()
	f.StringVar(&config.data, "data", "lockstep-data", "data directory")
	f.StringVar(&config.nodeID, "node-id", "", "how the id of a new node begins; the rest is random, for a node without its data is another node")
	f.StringVar(&config.listen, "listen", "127.0.0.1:7400", "API address")
	f.StringVar(&config.peer, "peer-listen", "127.0.0.1:7401", "address for other nodes")
	f.StringVar(&config.gossip, "gossip-listen", "127.0.0.1:7402", "gossip address, UDP and TCP")
	f.StringVar(&config.advertise, "advertise", "", "host by which others reach this node; default: the one it listens on")
	f.StringSliceVar(&config.join, "join", nil, "gossip addresses of other nodes")
	f.IntVar(&config.expect, "bootstrap-expect", 0, "how many new nodes make a new cluster")
	f.StringVar(&config.secretFile, "cluster-secret-file", "", "file with the secret that nodes of the cluster share")
	f.BoolVar(&config.insecure, "insecure", false, "allow addresses that are not loopback, although there is no TLS yet")
	f.StringVar(&config.logLevel, "log-level", "info", "trace, debug, info, warn or error")
	engineFlag(f, &config.engine)
	heartbeatFlag(f, &config.heartbeat)
	f.Int64Var(&config.logBytes, "log-bytes", 256<<20, "log that is kept behind a snapshot, in bytes")
	f.BoolVar(&config.pprof, "pprof", false, "give profiles under /debug/pprof/ of the API address, which must be loopback")
	hostsFlag(f, &config.reporterHosts)
	f.BoolVar(&config.untilEOF, "until-stdin-ends", false, "stop when the standard input ends: with whoever started it")
	return cmd
}

// checkEngine refuses a name that is no engine's.
func checkEngine(engine string) error {
	if engine != cluster.EnginePebble && engine != cluster.EngineMemory {
		return usage("--engine %s is neither %s nor %s", engine, cluster.EnginePebble, cluster.EngineMemory)
	}
	return nil
}

// Bounds of the heartbeat timeout. With less than the least, a slow disk or a busy processor costs a leader; beyond the
// most, a cluster is without one for as long.
const (
	heartbeatDefault = 400 * time.Millisecond
	heartbeatLeast   = 100 * time.Millisecond
	heartbeatMost    = 10 * time.Second
)

// heartbeatFlag chooses how soon a leader that is not heard of is replaced.
func heartbeatFlag(f *pflag.FlagSet, heartbeat *time.Duration) {
	f.DurationVar(heartbeat, "heartbeat", heartbeatDefault, "raft's heartbeat, election and lease timeout, the same on every node; 200ms suits a LAN of machines that are not overloaded")
}

// checkHeartbeat refuses what no cluster could work with.
func checkHeartbeat(heartbeat time.Duration) error {
	if heartbeat < heartbeatLeast || heartbeat > heartbeatMost {
		return usage("--heartbeat %s is not within %s and %s", heartbeat, heartbeatLeast, heartbeatMost)
	}
	return nil
}

// engineFlag chooses what keeps a node's state.
func engineFlag(f *pflag.FlagSet, engine *string) {
	f.StringVar(engine, "engine", cluster.EnginePebble, "what keeps the state: pebble, on disk; or memory, rebuilt at each start from the newest snapshot and the log")
}

func (c *cli) serve(ctx context.Context, config *serverConfig) error {
	if config.untilEOF {
		ctx = untilEOF(ctx, c.stdin)
	}
	boundMemory()
	s, err := openServer(ctx, config, c.stderr)
	if err != nil {
		return err
	}
	if config.started != nil {
		config.started(s)
	}
	select {
	case <-ctx.Done():
		s.logger.Info("stopping")
		return s.close()
	case <-s.node.Done():
		// The node cannot go on, and its disk may not answer: nothing is closed. The others elect.
		return fmt.Errorf("this node stops: %w", s.node.Close())
	case err := <-s.failed:
		return errors.Join(err, s.close())
	}
}

// server is a node with everything around it. It is the only place that knows all concrete types.
type server struct {
	logger  hclog.Logger
	mux     *peer.Mux
	gossip  *gossip.Gossip
	node    *cluster.Node
	api     *api.Server
	sweep   *sweep.Sweep // nil: nothing may be asked
	listen  net.Listener
	failed  chan error
	metrics *api.Metrics
	cancel  context.CancelFunc
	ended   chan struct{}
}

// checkAddresses refuses what would be open to a network without protection.
func (c *serverConfig) checkAddresses() error {
	for flag, address := range map[string]string{"listen": c.listen, "peer-listen": c.peer, "gossip-listen": c.gossip} {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return usage("--%s %s: %v", flag, address, err)
		}
		ip := net.ParseIP(host)
		open := (ip == nil || !ip.IsLoopback()) && host != "localhost"
		if open && c.pprof && flag == "listen" {
			return usage("--pprof is for loopback, and --listen %s is not: profiles show memory to whoever asks", address)
		}
		if open && !c.insecure {
			return usage("--%s %s is not loopback: there is no TLS and no authentication yet. Give --insecure if the network may be trusted", flag, address)
		}
	}
	return nil
}

func (c *serverConfig) secret() ([]byte, error) {
	if c.secretFile == "" {
		return nil, nil
	}
	b, err := os.ReadFile(c.secretFile)
	if err != nil {
		return nil, fmt.Errorf("read cluster secret: %w", err)
	}
	secret := strings.TrimSpace(string(b))
	if len(secret) < 16 {
		return nil, fmt.Errorf("the cluster secret in %s has %d characters; it needs 16 or more", c.secretFile, len(secret))
	}
	return []byte(secret), nil
}

// advertised is the address that others dial for a port that is listened on.
func (c *serverConfig) advertised(listening string) string {
	if c.advertise == "" {
		return listening
	}
	_, port, err := net.SplitHostPort(listening)
	if err != nil {
		return listening
	}
	return net.JoinHostPort(c.advertise, port)
}

func openServer(ctx context.Context, c *serverConfig, logs interface{ Write([]byte) (int, error) }) (s *server, err error) {
	if err := errors.Join(setPlant(c.plant), checkEngine(c.engine), checkHeartbeat(c.heartbeat), c.checkAddresses()); err != nil {
		return nil, err
	}
	secret, err := c.secret()
	if err != nil {
		return nil, err
	}
	hosts, err := sweep.ParseHosts(c.reporterHosts)
	if err != nil {
		return nil, usage("--reporter-hosts: %v", err)
	}
	level := hclog.LevelFromString(c.logLevel)
	if level == hclog.NoLevel {
		return nil, usage("--log-level %s is none of trace, debug, info, warn, error", c.logLevel)
	}
	s = &server{
		logger: hclog.New(&hclog.LoggerOptions{Name: "lockstep", Level: level, Output: logs}),
		failed: make(chan error, 2), ended: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeParts())
		}
	}()
	if s.listen, err = net.Listen("tcp", c.listen); err != nil {
		return s, fmt.Errorf("listen for the API: %w", err)
	}
	if s.mux, err = peer.Listen(peer.Config{Listen: c.peer, Secret: secret, Logger: s.logger.Named("peer")}); err != nil {
		return s, err
	}
	apiAddress, peerAddress := c.advertised(s.listen.Addr().String()), c.advertised(s.mux.Addr())
	s.mux.Advertise(peerAddress)
	if err := cluster.AwaitDisk(ctx, c.data, s.logger); err != nil {
		return s, err
	}
	// Gossip needs the node's id, and the node needs gossip for addresses: the directory stands between.
	directory := &directory{}
	s.node, err = cluster.Open(cluster.Config{
		DataDir: c.data, NodeID: c.nodeID, Layer: s.mux.Layer, APIAddress: directory.apiAddress,
		Engine: c.engine, Heartbeat: c.heartbeat, LogBytes: c.logBytes, Logger: s.logger,
		Exchange: s.exchange, Wall: wallClock(s.logger),
	})
	if err != nil {
		return s, err
	}
	s.gossip, err = gossip.Open(gossip.Config{
		NodeID: s.node.ID(), Listen: c.gossip, Advertise: gossipAdvertise(c), Join: c.join, Secret: secret,
		PeerAddress: peerAddress, APIAddress: apiAddress, Logger: s.logger.Named("gossip"),
	})
	if err != nil {
		return s, err
	}
	directory.set(s.gossip)
	if err := s.openAPI(c.pprof); err != nil {
		return s, err
	}
	if err := s.openSweep(hosts); err != nil {
		return s, err
	}
	s.place(c, peerAddress, apiAddress)
	s.logger.Info("node is up", "node", s.node.ID(), "api", apiAddress, "peers", peerAddress, "gossip", s.gossip.Addr(), "data", absolute(c.data))
	return s, nil
}

func absolute(path string) string {
	if whole, err := filepath.Abs(path); err == nil {
		return whole
	}
	return path
}

func gossipAdvertise(c *serverConfig) string {
	if c.advertise == "" {
		return ""
	}
	return c.advertised(c.gossip)
}

func (s *server) openAPI(profiles bool) (err error) {
	metrics := api.NewMetrics()
	s.metrics = metrics
	metrics.Peers(s.mux.Sent, s.mux.Received)
	s.node.Observe(metrics.Observe)
	config := api.Config{Cluster: s.node, Version: version, Metrics: metrics, Logger: s.logger.Named("api")}
	if profiles {
		config.Debug = profiler()
	}
	if s.api, err = api.New(config); err != nil {
		return err
	}
	go func() {
		if err := s.api.Serve(s.listen); err != nil {
			s.failed <- err
		}
	}()
	return nil
}

// Calls between nodes.
const (
	callStanding = "standing"
	callJoin     = "join"
	callExchange = "exchange"
)

// place brings a new node into a cluster, keeps it there, and answers other nodes that want the same.
func (s *server) place(c *serverConfig, peerAddress, apiAddress string) {
	joiner := join.New(join.Config{
		NodeID: s.node.ID(), PeerAddress: peerAddress, Expect: c.expect,
		Node: placed{s.node}, Around: s.gossip, Peers: others{s.mux, s.node.ID(), peerAddress, apiAddress}, Logger: s.logger,
	})
	s.mux.Handle(callStanding, func(context.Context, []byte) ([]byte, error) { return joiner.Answer() })
	s.mux.Handle(callJoin, s.addMember)
	s.mux.Handle(callExchange, func(_ context.Context, request []byte) ([]byte, error) { return s.node.Exchange(request) })
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() {
		defer close(s.ended)
		if err := joiner.Run(ctx); ctx.Err() == nil {
			s.failed <- err
		}
	}()
}

// exchange has another node answer with its checkpoints.
func (s *server) exchange(ctx context.Context, address string, request []byte) ([]byte, error) {
	return s.mux.Call(ctx, address, callExchange, request)
}

// addMember adds a node that has proved that it knows the cluster's secret; a follower passes it on to the leader.
func (s *server) addMember(ctx context.Context, request []byte) ([]byte, error) {
	r := &v1.AddMemberRequest{}
	if err := json.Unmarshal(request, r); err != nil {
		return nil, err
	}
	if _, self := s.node.Leader(""); self {
		return nil, s.node.AddMember(ctx, r)
	}
	for _, group := range s.node.Status(0).Groups {
		for _, m := range group.Members {
			if m.Leader && m.NodeId != s.node.ID() {
				return s.mux.Call(ctx, m.PeerAddress, callJoin, request)
			}
		}
	}
	return nil, errors.New("no leader is known now")
}

// close ends in the order in which a client would want it: leadership goes first, so that another answers.
func (s *server) close() error {
	if s.cancel != nil {
		s.cancel()
		<-s.ended
	}
	return s.closeParts()
}

func (s *server) closeParts() error {
	var errs []error
	if s.sweep != nil {
		s.sweep.Close() // who leads next need not wait for its lock
	}
	if s.node != nil {
		if _, self := s.node.Leader(""); self && len(s.node.Status(0).Groups[0].Members) > 1 {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			if _, err := s.node.TransferLeadership(ctx, ""); err != nil {
				s.logger.Warn("hand leadership over", "error", err)
			}
			cancel()
		}
	}
	if s.api != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		errs = append(errs, s.api.Close(ctx))
		cancel()
	} else if s.listen != nil {
		errs = append(errs, s.listen.Close())
	}
	if s.gossip != nil {
		if err := s.gossip.Close(); err != nil {
			s.logger.Debug("leave gossip", "error", err) // the others find out
		}
	}
	if s.node != nil {
		errs = append(errs, s.node.Close())
	}
	if s.mux != nil {
		errs = append(errs, s.mux.Close())
	}
	return errors.Join(errs...)
}
