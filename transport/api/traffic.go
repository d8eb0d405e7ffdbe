package api

import (
	"net"

	"github.com/prometheus/client_golang/prometheus"
)

// Peers has the bytes told that went to other nodes and came from them.
func (m *Metrics) Peers(sent, received func() uint64) {
	of := func(name, help string, count func() uint64) {
		add(m, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(count()) }))
	}
	of("lockstep_peer_sent_bytes_total", "Bytes sent to other nodes.", sent)
	of("lockstep_peer_received_bytes_total", "Bytes received from other nodes.", received)
}

// Sweep has it told how often reporters were asked by this node, and what came of it.
func (m *Metrics) Sweep(asked, answered, failed, runs, reported, refused func() uint64) {
	of := func(name, help string, count func() uint64) {
		add(m, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(count()) }))
	}
	of("lockstep_reporters_asked_total", "Asks of reporters about runs that are out of contact.", asked)
	of("lockstep_reporters_answered_total", "Asks that were answered.", answered)
	of("lockstep_reporters_failed_total", "Asks that failed: not allowed, no connection, no answer, or none that can be read.", failed)
	of("lockstep_reporters_runs_total", "Runs that reporters were asked about.", runs)
	of("lockstep_reporters_observations_total", "Observations that were answered and reported.", reported)
	of("lockstep_reporters_refused_total", "Observations that were answered and refused.", refused)
}

// metered counts the bytes of the connections that a listener accepts.
type metered struct {
	net.Listener
	metrics *Metrics
}

// Accept implements net.Listener.
func (l metered) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return meteredConn{&readAhead{Conn: c}, l.metrics}, nil
}

type meteredConn struct {
	net.Conn
	metrics *Metrics
}

// Read implements net.Conn.
func (c meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.metrics.received.Add(float64(n))
	return n, err
}

// Write implements net.Conn.
func (c meteredConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.metrics.sent.Add(float64(n))
	return n, err
}
