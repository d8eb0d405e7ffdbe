package api

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"testing/iotest"
)

// fed is a connection whose reads are those of a reader, and are counted.
type fed struct {
	net.Conn
	r     io.Reader
	reads int
}

func (f *fed) Read(b []byte) (int, error) {
	f.reads++
	return f.r.Read(b)
}

// Whatever sizes are asked for, and however it comes, what is read is what was sent, to its end.
func TestWhatIsReadAheadIsWhole(t *testing.T) {
	t.Parallel()
	sent := make([]byte, 300<<10)
	for i := range sent {
		sent[i] = byte(i * 7)
	}
	broken := errors.New("broken")
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		end := []error{io.EOF, broken}[seed%2]
		var r io.Reader = io.MultiReader(bytes.NewReader(sent), iotest.ErrReader(end))
		if seed%3 == 0 {
			r = iotest.HalfReader(r)
		}
		c := &readAhead{Conn: &fed{r: r}}
		var got []byte
		var err error
		for err == nil {
			b := make([]byte, []int{1, frameHead, frameHead + 1, random.IntN(200) + 1, readsMuch, 3 * readAheadBytes}[random.IntN(6)])
			var n int
			n, err = c.Read(b)
			got = append(got, b[:n]...)
		}
		if !errors.Is(err, end) || !bytes.Equal(got, sent) {
			t.Fatalf("seed %d: %d bytes of %d, and %v", seed, len(got), len(sent), err)
		}
	}
}

// Frames that have come together take two reads, the first head's and one for all the others, and no memory is kept behind them.
func TestFramesAreReadTogether(t *testing.T) {
	t.Parallel()
	f := &fed{r: bytes.NewReader(make([]byte, 50*(frameHead+100)))}
	c := &readAhead{Conn: f}
	for range 50 {
		for _, part := range []int{frameHead, 100} {
			if _, err := io.ReadFull(c, make([]byte, part)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if f.reads != 2 || c.memory != nil {
		t.Errorf("%d reads; memory is kept: %v", f.reads, c.memory != nil)
	}
}

// Who waits for a head waits without memory, also behind frames.
func TestWhoWaitsHasNoMemory(t *testing.T) {
	t.Parallel()
	server, client := net.Pipe()
	defer client.Close()
	c := &readAhead{Conn: server}
	defer c.Close()
	sent := slices.Repeat([]byte{1}, frameHead+20)
	go func() { _, _ = client.Write(sent) }() // what was not written is missed below
	for _, part := range []int{frameHead, 20} {
		if _, err := io.ReadFull(c, make([]byte, part)); err != nil {
			t.Fatal(err)
		}
	}
	if c.memory != nil {
		t.Error("memory is kept while nothing is there")
	}
}
