package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// benched runs a small benchmark on real processes, and gives its figures.
func benched(t *testing.T, args ...string) map[string]any {
	t.Helper()
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), append([]string{"bench", "--json", "--dir", dir}, args...), &bytes.Buffer{}, &stdout, &stderr)
	figures := map[string]any{}
	if err := json.Unmarshal(stdout.Bytes(), &figures); err != nil || code != 0 || figures["ok"] != true {
		t.Fatalf("status %d, %v:\n%s%s", code, err, &stdout, &stderr)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
	return figures
}

// positive checks that figures are told, and are not zero.
func positive(t *testing.T, figures map[string]any, names ...string) {
	t.Helper()
	for _, name := range names {
		if v, ok := figures[name].(float64); !ok || v <= 0 {
			t.Errorf("%s is %v", name, figures[name])
		}
	}
}

func TestBenchSteps(t *testing.T) {
	profiles, page := t.TempDir(), filepath.Join(t.TempDir(), "bench.html")
	figures := benched(t, "steps", "--html", page, "--seconds", "2", "--warm-up", "0.2", "--runs", "1", "--instances", "50", "--steps", "3", "--workers", "8", "--profile", profiles)
	positive(t, figures, "stepCyclesPerSecond", "p50Ms", "p99Ms", "fsyncMs", "serverCpuCores", "serverRssMiB", "cycles", "instances", "seconds", "runs", "startsPerSecond", "entriesPerCycle",
		"leaderCpuMicrosPerCycle", "followerCpuMicrosPerCycle", "leaderPeerBytesSentPerCycle", "followerPeerBytesReceivedPerCycle", "leaderApiBytesReceivedPerCycle", "leaderFileBytesPerCycle")
	if figures["leaderChanges"] != 0.0 || figures["spread"] != 0.0 || figures["verified"] != figures["instances"] {
		t.Errorf("%v", figures)
	}
	if b, err := os.ReadFile(page); err != nil || bytes.Count(b, []byte("<polyline")) != 2 {
		t.Errorf("the page has %d curves, not one of throughput and one of latency: %v", bytes.Count(b, []byte("<polyline")), err)
	}
	for _, pattern := range []string{"cpu-leader-*", "cpu-follower-*", "heap-leader-*"} {
		if found, err := filepath.Glob(filepath.Join(profiles, pattern)); err != nil || len(found) == 0 {
			t.Errorf("no profile %s", pattern)
		}
	}
}

// In an open loop cycles fall due at the rate, and as many are done.
func TestBenchStepsAtARate(t *testing.T) {
	figures := benched(t, "steps", "--seconds", "2", "--warm-up", "0.2", "--runs", "2", "--instances", "50", "--steps", "3", "--workers", "4", "--rate", "100")
	if rate := figures["stepCyclesPerSecond"].(float64); rate < 75 || rate > 110 || figures["runs"] != 2.0 {
		t.Errorf("%v", figures)
	}
}

func TestBenchStepsByCalls(t *testing.T) {
	figures := benched(t, "steps", "--seconds", "1", "--warm-up", "0.2", "--runs", "1", "--instances", "50", "--steps", "3", "--clients", "8", "--unary")
	positive(t, figures, "stepCyclesPerSecond", "p50Ms", "p99Ms")
	if figures["verified"] != figures["instances"] {
		t.Errorf("%v", figures)
	}
}

// Callers poll when they are due, and not before.
func TestBenchStepsByCallsAtARate(t *testing.T) {
	figures := benched(t, "steps", "--seconds", "2", "--warm-up", "0.2", "--runs", "1", "--instances", "50", "--steps", "3", "--clients", "8", "--unary", "--batch", "2", "--rate", "160")
	if rate := figures["stepCyclesPerSecond"].(float64); rate < 120 || rate > 176 || figures["verified"] != figures["instances"] {
		t.Errorf("%v", figures)
	}
}

// A kill is measured, and nothing of what was acknowledged is lost. It needs servers that it may kill.
func TestBenchFailover(t *testing.T) {
	figures := benched(t, "failover", "--kills", "1", "--runs", "1", "--heartbeat", "200ms")
	positive(t, figures, "failoverP50Ms", "failoverP99Ms", "fsyncMs", "acknowledged")
	if figures["kills"] != 1.0 || figures["lost"] != 0.0 {
		t.Errorf("%v", figures)
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"bench", "failover", "--server", "127.0.0.1:1"}, &bytes.Buffer{}, &stdout, &stderr); code != 1 {
		t.Errorf("status %d for somebody else's cluster: %s", code, &stderr)
	}
}

func TestBenchKinds(t *testing.T) {
	for kind, names := range map[string][]string{
		"workflows": {"workflowsPerSecond", "aloneP50Ms", "alone", "verified"},
		"locks":     {"lockCyclesPerSecond", "unaryLockCyclesPerSecond", "handOversPerSecond", "orderedHandOversPerSecond"},
		"reads":     {"readsPerSecond", "localCallsPerSecond", "readP50Ms"},
		"sessions":  {"renewalsPerSecond", "serverCpuCores", "leaderApiBytesReceivedPerRenewal", "followerPeerBytesReceivedPerRenewal"},
		"starts":    {"startsPerSecond", "unaryStartsPerSecond", "startsP99Ms", "unaryStartsP99Ms", "leaderApiBytesReceivedPerUnaryStart"},
		"watchers":  {"toldP99Ms", "eventsPerSecond", "followerApiBytesSentPerEvent"},
	} {
		t.Run(kind, func(t *testing.T) {
			figures := benched(t, kind, "--seconds", "1", "--warm-up", "0.2", "--runs", "1", "--instances", "100", "--workers", "4", "--clients", "4", "--sessions", "50", "--watchers", "50")
			positive(t, figures, append(names, "fsyncMs")...)
			if kind == "locks" && figures["fifoViolations"] != 0.0 || kind == "watchers" && figures["told"] != 50.0 {
				t.Errorf("%v", figures)
			}
		})
	}
}

// An interrupt ends a benchmark, with what it started.
func TestBenchInterrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, interrupt := context.WithTimeout(t.Context(), 2*time.Second)
	defer interrupt()
	var stdout, stderr bytes.Buffer
	if code := run(ctx, []string{"bench", "steps", "--dir", dir, "--instances", "100"}, &bytes.Buffer{}, &stdout, &stderr); code != 1 {
		t.Errorf("status %d: %s%s", code, &stdout, &stderr)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
