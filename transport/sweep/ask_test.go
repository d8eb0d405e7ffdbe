package sweep

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Only what is allowed is asked: the host as it is named, at the port that is named, or at any.
func TestHosts(t *testing.T) {
	for _, bad := range []string{"", "a b", "http://a", "a:b", "a:0", "a:70000", "*", "a/b", "fe80::1%eth0:1:x"} {
		if _, err := ParseHosts([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	h, err := ParseHosts([]string{"Ledger", "mainframe:8080", "10.0.0.1:80", "[2001:db8::1]:443", "2001:db8::2"})
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]bool{
		"http://ledger/": true, "https://LEDGER:9/x": true, "http://mainframe:8080": true, "http://mainframe/": false, "https://mainframe:8081": false,
		"http://10.0.0.1/": true, "https://10.0.0.1/": false, "https://[2001:db8::1]/": true, "http://[2001:db8::2]:7/": true, "http://[2001:db8::3]/": false,
		"ftp://ledger/": false, "http://ledger.evil/": false, "http://evil/ledger": false, "http://169.254.169.254/": false,
	} {
		u, err := url.Parse(at)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.allow(u); (err == nil) != want {
			t.Errorf("%s: %v", at, err)
		}
	}
	if none, err := ParseHosts(nil); err != nil || !none.Empty() {
		t.Errorf("none are %v, %v", none, err)
	}
}

// A name does not lead to where only this machine, or its link, listens; what is allowed by its address does.
func TestAddresses(t *testing.T) {
	for _, x := range []struct {
		host, to string
		ok       bool
	}{
		{"ledger", "10.0.0.1:80", true}, {"ledger", "203.0.113.1:80", true}, {"ledger", "127.0.0.1:80", false}, {"ledger", "[::1]:80", false},
		{"ledger", "169.254.169.254:80", false}, {"ledger", "[fd00:ec2::254]:80", false}, {"ledger", "[fe80::1]:80", false}, {"ledger", "0.0.0.0:80", false},
		{"ledger", "[::ffff:127.0.0.1]:80", false}, {"ledger", "224.0.0.1:80", false}, {"localhost", "127.0.0.1:80", true},
		{"127.0.0.1", "127.0.0.1:80", true}, {"169.254.169.254", "169.254.169.254:80", true}, {"127.0.0.1", "127.0.0.2:80", false}, {"::1", "[::1]:80", true},
	} {
		if err := checkAddress(x.host, x.to); (err == nil) != x.ok {
			t.Errorf("%s as %s: %v", x.host, x.to, err)
		}
	}
}

// What is no answer is told in words, and nothing is followed.
func TestAsk(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	over := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/good":
			if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Idempotency-Key") != "e" {
				t.Errorf("asked by %s with %v", r.Method, r.Header)
			}
			_, _ = w.Write([]byte(`{"observations": [{"instanceId": "i", "step": "a", "observationId": "o", "state": "OBSERVED_STATE_COMPLETED", "output": 7}], "more": "unknown"}`))
		case "/moved":
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		case "/large":
			_, _ = w.Write([]byte(`{"x": "` + strings.Repeat("x", maxAnswer) + `"}`))
		case "/many":
			_, _ = w.Write([]byte(`{"observations": [{}` + strings.Repeat(",{}", maxObserved) + `]}`))
		case "/text":
			_, _ = w.Write([]byte("all is well"))
		case "/hangs":
			<-over
		default:
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer s.Close()
	defer close(over)
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := ParseHosts([]string{at.Host})
	if err != nil {
		t.Fatal(err)
	}
	a := newAsker(hosts, 300*time.Millisecond)
	defer a.close()
	question := &v1.AskReporter{AskId: "e", Runs: []*v1.OutOfContact{{InstanceId: "i", Step: "a"}}}
	answer, err := a.ask(t.Context(), s.URL+"/good", question)
	if err != nil || len(answer.Observations) != 1 || answer.Observations[0].Output.GetNumberValue() != 7 {
		t.Fatalf("answered is %v, %v", answer, err)
	}
	for to, says := range map[string]string{
		s.URL + "/moved": "no redirect is followed", s.URL + "/large": "over 1048576 bytes", s.URL + "/many": "may have 500", s.URL + "/text": "not JSON",
		s.URL + "/hangs": "deadline exceeded", s.URL + "/tea": "418", elsewhere.URL: "not among its --reporter-hosts",
	} {
		if _, err := a.ask(t.Context(), to, question); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s is %v, not %q", to, err, says)
		}
	}
}

// Who fails is asked the less often, up to an hour apart; who has never been asked is asked at once. A clock that was set has nobody wait for ever, nor
// be asked all the time.
func TestDue(t *testing.T) {
	for failures, want := range map[int32]time.Duration{0: time.Minute, 1: 2 * time.Minute, 3: 8 * time.Minute, 6: time.Hour, 1000: time.Hour} {
		if got := waits(&v1.Reporter{Every: durationpb.New(time.Minute), Failures: failures}); got != want {
			t.Errorf("after %d failures it waits %s, not %s", failures, got, want)
		}
	}
	if daily := (&v1.Reporter{Every: durationpb.New(24 * time.Hour), Failures: 5}); waits(daily) != 24*time.Hour {
		t.Error("who is asked once a day is asked more often when it fails")
	}
	now := time.Now()
	at := func(asked time.Duration) *v1.Reporter {
		return &v1.Reporter{Position: 7, Asked: timestamppb.New(now.Add(asked)), Every: durationpb.New(time.Minute)}
	}
	begins := func() *sweeper { return &sweeper{asked: map[int64]asked{}} }
	if n := begins(); !n.due(&v1.Reporter{}, now) || !n.due(at(-time.Minute), now) {
		t.Error("who was never asked, or long ago, waits")
	}
	n := begins()
	if n.due(at(-59*time.Second), now) || !n.due(at(-59*time.Second), now.Add(time.Second)) {
		t.Error("who was asked by another is not asked when its time has come")
	}
	if n.due(at(-time.Hour), now.Add(2*time.Second)) {
		t.Error("who was asked here is asked again, for a clock is behind")
	}
	if n := begins(); n.due(at(time.Hour), now) || !n.due(at(time.Hour), now.Add(time.Minute)) {
		t.Error("who was asked by a clock that is ahead waits for it")
	}
}
