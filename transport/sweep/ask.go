package sweep

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// Limits of an answer.
const (
	maxAnswer   = 1 << 20
	maxObserved = 500 // observations
	maxSaid     = 300 // bytes of why it failed
)

// asker asks by HTTP, and only hosts that are allowed. It follows no redirect, uses no proxy, and connects to nothing but what is checked here.
type asker struct {
	hosts   *Hosts
	timeout time.Duration
	http    *http.Client
}

func newAsker(hosts *Hosts, timeout time.Duration) *asker {
	transport := &http.Transport{
		MaxIdleConnsPerHost: 1, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: timeout,
		MaxResponseHeaderBytes: 64 << 10, DisableCompression: true, // what is read is what is sent
	}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		d := &net.Dialer{Timeout: timeout, Control: func(_, resolved string, _ syscall.RawConn) error { return checkAddress(host, resolved) }}
		return d.DialContext(ctx, network, address)
	}
	return &asker{hosts: hosts, timeout: timeout, http: &http.Client{
		Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (a *asker) close() { a.http.CloseIdleConnections() }

// ask gives a reporter a question. Whatever goes wrong is an error in words for whoever looks at the list of reporters.
func (a *asker) ask(ctx context.Context, at string, question *v1.AskReporter) (*v1.ReporterAnswer, error) {
	u, err := url.Parse(at)
	if err != nil {
		return nil, err
	}
	if err := a.hosts.allow(u); err != nil {
		return nil, err
	}
	body, err := protojson.Marshal(question)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", question.AskId)
	r.Header.Set("User-Agent", "lockstep-sweep")
	res, err := a.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s; only 200 is an answer, and no redirect is followed", res.Status)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read its answer: %w", err)
	case len(text) > maxAnswer:
		return nil, fmt.Errorf("its answer is over %d bytes", maxAnswer)
	}
	answer := &v1.ReporterAnswer{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, answer); err != nil {
		return nil, errors.New("its answer is not JSON as a reporter's is: " + err.Error())
	}
	if n := len(answer.Observations); n > maxObserved {
		return nil, fmt.Errorf("its answer has %d observations, and may have %d", n, maxObserved)
	}
	return answer, nil
}

func newID() string {
	b := make([]byte, 12)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// short is what is kept of why a reporter failed.
func short(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	for len(s) > maxSaid {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}
