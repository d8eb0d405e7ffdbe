package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

// flushed counts flushes.
type flushed struct {
	*httptest.ResponseRecorder
	flushes int
}

func (f *flushed) Flush() { f.flushes++ }

// What is sent together is flushed once, at its end, also when sending fails; what is sent alone, at once; and nothing
// twice.
func TestWhatIsSentTogetherIsFlushedOnce(t *testing.T) {
	w := &flushed{ResponseRecorder: httptest.NewRecorder()}
	broken := errors.New("broken")
	withCork(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		under := w.(*cork).ResponseWriter.(*flushed)
		expect := func(what string, n int) {
			t.Helper()
			if under.flushes != n {
				t.Errorf("%s: %d flushes, should be %d", what, under.flushes, n)
			}
		}
		send := func(n int, err error) func() error {
			return func() error {
				for range n {
					w.(http.Flusher).Flush()
				}
				return err
			}
		}
		_ = send(1, nil)()
		expect("one alone", 1)
		if err := together(r.Context(), send(3, nil)); err != nil {
			t.Error(err)
		}
		expect("three together", 2)
		if err := together(r.Context(), send(0, nil)); err != nil {
			t.Error(err)
		}
		expect("none together", 2)
		if err := together(r.Context(), send(2, broken)); err != broken {
			t.Error(err)
		}
		expect("two, and a failure", 3)
		_ = send(2, nil)()
		expect("two alone", 5)
		if err := together(context.Background(), send(1, nil)); err != nil {
			t.Error(err)
		}
		expect("without a cork", 6)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		expect("by a controller", 7)
	})).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
}
