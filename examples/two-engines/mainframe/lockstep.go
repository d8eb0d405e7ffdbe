package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// lockstep is how the engine reaches Lockstep: by plain JSON over HTTP.
type lockstep struct {
	server string
	lose   []string // STEP:INSTANCE, whose report never leaves
}

// observation is what Lockstep takes of what was observed of a run.
type observation struct {
	InstanceID    string            `json:"instanceId"`
	Step          string            `json:"step"`
	Reporter      string            `json:"reporter,omitempty"`
	ObservationID string            `json:"observationId"`
	State         string            `json:"state"`
	ObservedAt    time.Time         `json:"observedAt"`
	Output        map[string]string `json:"output,omitempty"`
	Execution     string            `json:"execution,omitempty"`
	Evidence      string            `json:"evidence"`
}

// observed is a line of the books as an observation. The same line is the same observation, however often it is told.
func observed(x entry) observation {
	return observation{
		InstanceID: x.Instance, Step: x.Step, ObservationID: x.Execution, State: "OBSERVED_STATE_COMPLETED", ObservedAt: x.At,
		Output: x.Output, Execution: x.Execution, Evidence: "the books of the mainframe",
	}
}

// report says what was observed of a run. Nothing is done about it by that.
func (l *lockstep) report(ctx context.Context, o observation) error {
	o.Reporter = "mainframe"
	return l.call(ctx, "ReconcileService/ReportObservation", o, nil)
}

// complete leases the run that was done, and completes it under the token of that lease: whoever comes later is fenced.
func (l *lockstep) complete(ctx context.Context, x entry) error {
	if slices.Contains(l.lose, x.Step+":"+x.Instance) {
		return fmt.Errorf("the line is down, and %s is not reported", x.Execution)
	}
	var session struct {
		ID string `json:"sessionId"`
	}
	if err := l.call(ctx, "WorkerService/OpenSession", map[string]string{"worker": "mainframe", "ttl": "60s"}, &session); err != nil {
		return err
	}
	defer func() { // what it holds is given back
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = l.call(closing, "WorkerService/CloseSession", map[string]string{"sessionId": session.ID}, nil) // it expires else
	}()
	var lease struct {
		Run struct {
			Token string `json:"token"`
		} `json:"run"`
	}
	named := map[string]any{"sessionId": session.ID, "instanceId": x.Instance, "step": x.Step, "wait": "30s", "requestId": "1", "lowestUnanswered": "1"}
	if err := l.call(ctx, "WorkerService/LeaseStep", named, &lease); err != nil {
		return err
	}
	done := map[string]any{"instanceId": x.Instance, "step": x.Step, "token": lease.Run.Token, "output": x.Output}
	return l.call(ctx, "WorkerService/CompleteStep", done, nil)
}

func (l *lockstep) call(ctx context.Context, method string, request, reply any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, l.server+"/lockstep.v1."+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", method, strings.TrimSpace(string(text)))
	}
	if reply == nil {
		return nil
	}
	return json.Unmarshal(text, reply)
}
