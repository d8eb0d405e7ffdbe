package workload

import (
	"encoding/json"
	"net"
	"net/http"
	"sync"
)

// Register is what workers write to: something outside of the cluster, that keeps for each lease's name the highest
// token that it has seen, and refuses less. It knows nothing of Lockstep. Close it.
type Register struct {
	server *http.Server
	addr   string
	ended  chan struct{}

	mu     sync.Mutex // guards what follows
	writes []Write
	high   map[string]int64
}

// Write is one that the register was asked for.
type Write struct {
	Lease   string `json:"lease"`
	Token   int64  `json:"token"`
	Refused bool   `json:"refused,omitempty"`
	// Completed says that nothing is written: the cluster accepted this completion, says the worker.
	Completed bool `json:"completed,omitempty"`
}

// NewRegister serves one on an address of this host.
func NewRegister(host string) (*Register, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, err
	}
	r := &Register{addr: l.Addr().String(), high: map[string]int64{}, ended: make(chan struct{})}
	r.server = &http.Server{Handler: http.HandlerFunc(r.serve)}
	go func() {
		defer close(r.ended)
		_ = r.server.Serve(l) // ends with Close
	}()
	return r, nil
}

// URL is where to POST a Write.
func (r *Register) URL() string { return "http://" + r.addr }

func (r *Register) serve(w http.ResponseWriter, request *http.Request) {
	var write Write
	if err := json.NewDecoder(request.Body).Decode(&write); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if write.Completed {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.writes = append(r.writes, write)
		return
	}
	if r.Write(write.Lease, write.Token) {
		w.WriteHeader(http.StatusOK)
		return
	}
	w.WriteHeader(http.StatusConflict)
}

// Write writes, and says whether the register took it.
func (r *Register) Write(lease string, token int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := token >= r.high[lease]
	if taken {
		r.high[lease] = token
	}
	r.writes = append(r.writes, Write{Lease: lease, Token: token, Refused: !taken})
	return taken
}

// Refused counts the writes that came too late.
func (r *Register) Refused() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.writes {
		if w.Refused {
			n++
		}
	}
	return n
}

// Close ends it and returns all writes, in order.
func (r *Register) Close() ([]Write, error) {
	err := r.server.Close()
	<-r.ended
	return r.writes, err
}
