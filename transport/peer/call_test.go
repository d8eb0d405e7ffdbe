package peer

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

func TestACallIsAnswered(t *testing.T) {
	a, b := listen(t, "s"), listen(t, "s")
	b.Handle("greet", func(_ context.Context, request []byte) ([]byte, error) {
		return append([]byte("re: "), request...), nil
	})
	b.Handle("no", func(context.Context, []byte) ([]byte, error) { return nil, errors.New("I would rather not") })
	if reply, err := a.Call(t.Context(), b.Addr(), "greet", []byte("hello")); err != nil || string(reply) != "re: hello" {
		t.Fatalf("%q, %v", reply, err)
	}
	_, err := a.Call(t.Context(), b.Addr(), "no", nil)
	wantError(t, err, "peer "+b.Addr()+": I would rather not")
}

func TestANodeMayCallItself(t *testing.T) {
	a := listen(t, "s")
	echo(a)
	if reply, err := a.Call(t.Context(), a.Addr(), "echo", []byte("me")); err != nil || string(reply) != "me" {
		t.Fatalf("%q, %v", reply, err)
	}
}

func TestMessagesHaveALimit(t *testing.T) {
	a, b := listen(t, "s"), listen(t, "s")
	echo(b)
	b.Handle("grow", func(_ context.Context, request []byte) ([]byte, error) { return append(request, 0), nil })
	at := bytes.Repeat([]byte("x"), maxMessage)
	if reply, err := a.Call(t.Context(), b.Addr(), "echo", at); err != nil || !bytes.Equal(reply, at) {
		t.Fatalf("%d bytes, %v", len(reply), err)
	}
	_, err := a.Call(t.Context(), b.Addr(), "echo", append(at, 0))
	wantError(t, err, "a message of 1048577 bytes is over the limit of 1048576")
	_, err = a.Call(t.Context(), b.Addr(), "grow", at)
	wantError(t, err, "the reply of 1048577 bytes is over the limit of 1048576")
	// One who does not keep to the limit is not believed.
	if _, _, err := readMessage(bytes.NewReader([]byte{0, 0xff, 0xff, 0xff, 0xff})); err == nil {
		t.Fatal("a message of 4 GiB is read")
	}
}

// waiting has a call that is answered only when its context ends, and tells of both.
func waiting(m *Mux) (started, ended chan bool) {
	started, ended = make(chan bool, 1), make(chan bool, 1)
	m.Handle("wait", func(ctx context.Context, _ []byte) ([]byte, error) {
		started <- true
		<-ctx.Done()
		ended <- true
		return nil, ctx.Err()
	})
	return started, ended
}

func TestACallEndsWithItsCaller(t *testing.T) {
	a, b := listen(t, "s"), listen(t, "s")
	started, ended := waiting(b)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := a.Call(ctx, b.Addr(), "wait", nil)
		failed <- err
	}()
	soon(t, started, "the handler runs")
	cancel()
	if err := soon(t, failed, "the call ends"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	soon(t, ended, "the handler hears that its caller is gone")
}

func TestACallEndsWithEitherPort(t *testing.T) {
	for name, close := range map[string]func(a, b *Mux) error{
		"the caller's": func(a, _ *Mux) error { return a.Close() },
		"the other":    func(_, b *Mux) error { return b.Close() },
	} {
		a, b := listen(t, "s"), listen(t, "s")
		started, ended := waiting(b)
		failed := make(chan error)
		go func() {
			_, err := a.Call(t.Context(), b.Addr(), "wait", nil)
			failed <- err
		}()
		soon(t, started, "the handler runs")
		if err := close(a, b); err != nil {
			t.Fatal(err)
		}
		if err := soon(t, failed, name+" port closes, the call ends"); err == nil {
			t.Fatal("a call that nobody answered is answered")
		}
		soon(t, ended, "the handler ends")
	}
}

func TestACallToNobodyEndsWithItsContext(t *testing.T) {
	a, b := listen(t, "s"), listen(t, "s")
	echo(b)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Call(ctx, b.Addr(), "echo", nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
