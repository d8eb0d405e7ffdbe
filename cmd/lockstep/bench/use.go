package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// use is what a server has used so far, and what it did for that.
type use struct {
	cpuSeconds, residentBytes float64
	peerSent, peerReceived    float64 // bytes to and from other nodes
	apiSent, apiReceived      float64 // and clients
	entriesApplied, leads     float64
	written                   float64 // bytes, to files and connections, of servers of our own
}

// told are the metrics that a server must tell, and where they go.
func (u *use) told() map[string]*float64 {
	return map[string]*float64{
		"process_cpu_seconds_total":          &u.cpuSeconds,
		"process_resident_memory_bytes":      &u.residentBytes,
		"lockstep_peer_sent_bytes_total":     &u.peerSent,
		"lockstep_peer_received_bytes_total": &u.peerReceived,
		"lockstep_api_sent_bytes_total":      &u.apiSent,
		"lockstep_api_received_bytes_total":  &u.apiReceived,
		"lockstep_entries_applied_total":     &u.entriesApplied,
		`lockstep_leader{group="0"}`:         &u.leads,
	}
}

// used reads what a server says of itself, for Prometheus.
func (t *target) used(ctx context.Context, server string) (u use, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url(server)+"/metrics", nil)
	if err != nil {
		return u, err
	}
	reply, err := t.http.Do(request)
	if err != nil {
		return u, err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return u, fmt.Errorf("%s/metrics: %s", server, reply.Status)
	}
	return parseUse(reply.Body)
}

func parseUse(r io.Reader) (u use, err error) {
	wanted := u.told()
	for lines := bufio.NewScanner(r); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		to := wanted[name]
		if to == nil {
			continue
		}
		if *to, err = strconv.ParseFloat(value, 64); err != nil {
			return u, err
		}
		delete(wanted, name)
	}
	for name := range wanted {
		return u, fmt.Errorf("the metrics lack %s", name)
	}
	return u, nil
}

// usage is what all servers, and this process, have used so far.
type usage struct {
	at     time.Time
	server map[string]use
	own    time.Duration
}

func (t *target) usage(ctx context.Context) (usage, error) {
	u := usage{time.Now(), map[string]use{}, 0}
	for i, server := range t.servers {
		used, err := t.used(ctx, server)
		if err == nil && t.own != nil {
			used.written, err = written(t.own.PID(t.own.Nodes[i].Number))
		}
		if err != nil {
			return u, fmt.Errorf("what the server uses: %w", err)
		}
		u.server[server] = used
	}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return u, err
	}
	u.own = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	return u, nil
}

// written is how many bytes a process has had the kernel write, to files and to connections. What the kernel says of
// disks (write_bytes) is no use here: it counts all that it caches of a file together, which may be 1 MiB of the log for the 512
// bytes that were written.
func written(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if value, found := strings.CutPrefix(line, "wchar:"); found {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/io does not tell what is written", pid)
}

// since tells the cores used from an earlier usage on: by all servers together, by the busiest, and by the load.
func (u usage) since(before usage, into Figures) {
	elapsed := u.at.Sub(before.at).Seconds()
	var all, most float64
	for server, now := range u.server {
		cores := (now.cpuSeconds - before.server[server].cpuSeconds) / elapsed
		all, most = all+cores, max(most, cores)
	}
	into["serverCpuCores"], into["busiestServerCpuCores"] = all, most
	into["clientCpuCores"] = (u.own - before.own).Seconds() / elapsed
}

// per tells what one of n operations took from an earlier usage on, of the server that leads and of a follower each:
// processor time, bytes that went to and came from other nodes, and clients, and bytes written to files. Unlike rates
// these hardly depend on who else uses the machine.
func (u usage) per(unit string, n float64, before usage, into Figures) {
	followers := max(1, float64(len(u.server)-1))
	for server, now := range u.server {
		role, of := "follower", n*followers
		if now.leads == 1 {
			role, of = "leader", n
			into["entriesPer"+unit] = (now.entriesApplied - before.server[server].entriesApplied) / max(1, n)
		}
		now.tell(before.server[server], func(what string, used float64) {
			into[role+what+"Per"+unit] += used / max(1, of)
		})
	}
}

func (u use) tell(before use, figure func(what string, used float64)) {
	figure("CpuMicros", 1e6*(u.cpuSeconds-before.cpuSeconds))
	figure("PeerBytesSent", u.peerSent-before.peerSent)
	figure("PeerBytesReceived", u.peerReceived-before.peerReceived)
	figure("ApiBytesSent", u.apiSent-before.apiSent)
	figure("ApiBytesReceived", u.apiReceived-before.apiReceived)
	if u.written > 0 {
		figure("FileBytes", u.written-before.written-(u.peerSent-before.peerSent)-(u.apiSent-before.apiSent))
	}
}
