package bench

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestMetricsThatAreMissingAreAnError(t *testing.T) {
	text := "process_cpu_seconds_total 1.5\nprocess_resident_memory_bytes 2e+06\n" +
		"lockstep_peer_sent_bytes_total 3\nlockstep_peer_received_bytes_total 4\nlockstep_api_sent_bytes_total 5\nlockstep_api_received_bytes_total 6\n" +
		"lockstep_entries_applied_total 7\nlockstep_leader{group=\"0\"} 1\nlockstep_commands_applied_total 8\n"
	want := use{cpuSeconds: 1.5, residentBytes: 2e6, peerSent: 3, peerReceived: 4, apiSent: 5, apiReceived: 6, entriesApplied: 7, leads: 1}
	if u, err := parseUse(strings.NewReader(text)); err != nil || u != want {
		t.Errorf("%+v, %v", u, err)
	}
	for name := range want.told() {
		if _, err := parseUse(strings.NewReader(strings.Replace(text, name, "other", 1))); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is missing, and what is said is %v", name, err)
		}
	}
}

// What an operation takes is told of the leader, and of one follower: of two that is half of what both took.
func TestTheCostOfAnOperation(t *testing.T) {
	at := time.Now()
	before := usage{at: at, server: map[string]use{"a": {cpuSeconds: 1}, "b": {}, "c": {entriesApplied: 5}}}
	after := usage{at: at.Add(time.Second), server: map[string]use{
		"a": {cpuSeconds: 1.3, peerReceived: 100},
		"b": {cpuSeconds: 0.1, peerReceived: 300},
		"c": {cpuSeconds: 0.8, entriesApplied: 25, peerSent: 400, apiReceived: 50, apiSent: 70, written: 4566, leads: 1},
	}}
	figures := Figures{}
	after.per("Op", 100, before, figures)
	for name, want := range map[string]float64{
		"leaderCpuMicrosPerOp": 8000, "followerCpuMicrosPerOp": 2000, "leaderPeerBytesSentPerOp": 4, "followerPeerBytesReceivedPerOp": 2,
		"leaderApiBytesReceivedPerOp": 0.5, "leaderApiBytesSentPerOp": 0.7, "leaderFileBytesPerOp": 40.96, "entriesPerOp": 0.2,
	} {
		if got := figures[name]; got < want*0.999 || got > want*1.001 {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if _, told := figures["followerFileBytesPerOp"]; told {
		t.Error("what a follower wrote is told, and was not measured")
	}
}

// The kernel tells of this process what it tells of a server: the bytes that were written, whether or not they are synced.
func TestWhatIsWrittenIsCounted(t *testing.T) {
	before, err := written(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(t.TempDir()+"/written", make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	after, err := written(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if wrote := after - before; wrote < 1<<20 || wrote > 1<<20+4096 {
		t.Errorf("of 1 MiB and little else, %.0f bytes were written", wrote)
	}
}
