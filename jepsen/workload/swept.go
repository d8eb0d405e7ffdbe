package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lockstep-dev/lockstep/client"
	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// SweptName is the name of the reporter that is asked.
const SweptName = "swept"

// Swept is a reporter that servers ask about what is out of contact: it lies, lags, repeats itself, answers nonsense, late or nothing. Close it.
type Swept struct {
	server *http.Server
	addr   string
	ended  chan struct{}

	mu     sync.Mutex // guards what follows
	chance *rand.Rand
	asked  int
	told   int
	last   []*v1.ReportObservationRequest
}

// NewSwept serves one on an address of this host.
func NewSwept(host string, seed uint64) (*Swept, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, err
	}
	s := &Swept{addr: l.Addr().String(), chance: rand.New(rand.NewPCG(seed, 17000)), ended: make(chan struct{})}
	s.server = &http.Server{Handler: http.HandlerFunc(s.serve)}
	go func() {
		defer close(s.ended)
		_ = s.server.Serve(l) // ends with Close
	}()
	return s, nil
}

// Host is what a server must be allowed to ask.
func (s *Swept) Host() string { return s.addr }

// Register has it be asked about the steps of books.
func (s *Swept) Register(ctx context.Context, c *client.Client) error {
	_, err := c.RegisterReporter(ctx, &v1.RegisterReporterRequest{
		Reporter: SweptName, Url: "http://" + s.addr, Workflows: []string{"book"}, Every: durationpb.New(time.Second), OutOfContact: durationpb.New(time.Second), Reason: "to see",
	})
	return err
}

// Asked is how often it was asked.
func (s *Swept) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// Close ends it.
func (s *Swept) Close() error {
	err := s.server.Close()
	<-s.ended
	return err
}

func (s *Swept) serve(w http.ResponseWriter, r *http.Request) {
	var body json.RawMessage
	question := &v1.AskReporter{}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || protojson.Unmarshal(body, question) != nil {
		http.Error(w, "no question", http.StatusBadRequest)
		return
	}
	answer, late, status := s.answer(question)
	select {
	case <-time.After(late):
	case <-r.Context().Done():
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer) // who asked may be gone
}

// answer is what it says to a question, how late, and as what.
func (s *Swept) answer(question *v1.AskReporter) (text []byte, late time.Duration, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	switch s.chance.IntN(12) {
	case 0:
		return nil, 0, http.StatusServiceUnavailable
	case 1:
		return []byte("all is well"), 0, http.StatusOK
	case 2:
		late = time.Duration(s.chance.IntN(3000)) * time.Millisecond
	}
	answer := &v1.ReporterAnswer{}
	if s.chance.IntN(3) == 0 {
		answer.Observations = append(answer.Observations, s.last...)
	}
	s.last = nil
	for _, run := range question.Runs {
		if s.chance.IntN(3) == 0 {
			continue
		}
		s.told++
		o := &v1.ReportObservationRequest{
			InstanceId: run.InstanceId, Step: run.Step, Index: run.Index, ObservationId: fmt.Sprint("s", s.told), Evidence: "asked",
			State: []v1.ObservedState{1, 1, 3, 4}[s.chance.IntN(4)], ObservedAt: timestamppb.New(time.Now().Add(-time.Duration(s.chance.IntN(3000)) * time.Millisecond)),
		}
		if s.chance.IntN(6) == 0 {
			o.Step = bookSteps[s.chance.IntN(len(bookSteps))]
		}
		if o.State == v1.ObservedState_OBSERVED_STATE_COMPLETED {
			o.Output, o.Execution = structpb.NewNumberValue(float64(s.chance.IntN(2))), fmt.Sprint("tx-", s.chance.IntN(2))
		}
		if s.last = append(s.last, o); len(s.last) > 8 {
			s.last = s.last[1:]
		}
		answer.Observations = append(answer.Observations, o)
	}
	text, err := protojson.Marshal(answer)
	if err != nil {
		return nil, 0, http.StatusInternalServerError
	}
	return text, late, http.StatusOK
}
