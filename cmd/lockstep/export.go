package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// ackEvery is how many instances are written, and made durable, for one word to the cluster.
const ackEvery = 1000

// instanceExport writes finished instances as JSON Lines. A file that is there already is gone on with, behind its last whole line: so
// whoever stops it, however, starts it again with the same words, and has each instance once.
func (c *cli) instanceExport() *cobra.Command {
	var out, before string
	var after int64
	var ack bool
	cmd := &cobra.Command{Use: "export", Short: "Write finished instances with all that is known of them, one JSON line each", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		r := &v1.ExportInstancesRequest{Namespace: c.namespace, After: after}
		if before != "" {
			at, err := pastTime(before)
			if err != nil {
				return err
			}
			r.EndedBefore = timestamppb.New(at)
		}
		switch {
		case after < 0:
			return usage("--after is %d; positions count from 1", after)
		case out == "-" && ack:
			return usage("--ack is for what is in a file: of the standard output nobody knows whether it is safe")
		case out == "-":
			return c.export(cmd.Context(), &exportFile{w: bufio.NewWriter(c.stdout)}, r, false)
		}
		f, err := openExport(out, c.namespace, r)
		if err != nil {
			return err
		}
		return errors.Join(c.export(cmd.Context(), f, r, ack), f.file.Close())
	}}
	cmd.Flags().StringVar(&out, "out", "-", "the file, which is gone on with if it is there; - is the standard output")
	cmd.Flags().StringVar(&before, "ended-before", "", "a time as 2026-01-31T00:00:00Z, or how long ago, as 720h")
	cmd.Flags().Int64Var(&after, "after", 0, "behind the instance with this position")
	cmd.Flags().BoolVar(&ack, "ack", false, "tell the cluster what is in the file, so that retention may remove it")
	return cmd
}

// pastTime reads a time, or how long ago it was.
func pastTime(s string) (time.Time, error) {
	if ago, err := time.ParseDuration(s); err == nil {
		return time.Now().Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return at, usage("%q is neither a time as 2026-01-31T00:00:00Z nor how long ago, as 720h", s)
	}
	return at, nil
}

// exportFile is where lines go.
type exportFile struct {
	file  *os.File // nil is the standard output
	w     *bufio.Writer
	part  string // of the line that is being written; empty is between lines
	lines int64
}

// openExport opens a file behind its last whole line, and has the request go on there.
func openExport(path, namespace string, r *v1.ExportInstancesRequest) (*exportFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	last, end, err := lastLine(f)
	if err == nil && last != nil {
		var line struct {
			Namespace string
			Position  int64
		}
		if _, err = fmt.Sscanf(string(last), exportHead, &line.Namespace, &line.Position); err != nil || line.Namespace != namespace {
			err = fmt.Errorf("%s is no export of namespace %s: its last line begins with %s", path, namespace, short(string(last), 60))
		}
		r.After = max(r.After, line.Position)
	}
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		_, err = f.Seek(end, io.SeekStart)
	}
	if err == nil {
		err = syncDirectory(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &exportFile{file: f, w: bufio.NewWriterSize(f, 1<<20)}, nil
}

// exportHead begins a line.
const exportHead = `{"namespace":%q,"position":%d`

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lastLine reads the beginning of the last whole line of a file, and says where it ends.
func lastLine(f *os.File) (begins []byte, end int64, err error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, 0, err
	}
	if end, err = newlineBefore(f, size); err != nil || end == 0 {
		return nil, 0, err
	}
	from, err := newlineBefore(f, end-1)
	if err != nil {
		return nil, 0, err
	}
	begins = make([]byte, min(1024, end-from))
	_, err = f.ReadAt(begins, from)
	return begins, end, err
}

// newlineBefore is where what follows the last newline before a place begins.
func newlineBefore(f *os.File, place int64) (int64, error) {
	b := make([]byte, 64<<10)
	for place > 0 {
		n := min(place, int64(len(b)))
		if _, err := f.ReadAt(b[:n], place-n); err != nil {
			return 0, err
		}
		if at := bytes.LastIndexByte(b[:n], '\n'); at >= 0 {
			return place - n + int64(at) + 1, nil
		}
		place -= n
	}
	return 0, nil
}

// export writes page after page.
func (c *cli) export(ctx context.Context, f *exportFile, r *v1.ExportInstancesRequest, ack bool) error {
	for told := int64(0); ; {
		page, err := ask(ctx, c, func(a *services) func(context.Context, *connect.Request[v1.ExportInstancesRequest]) (*connect.Response[v1.ExportInstancesResponse], error) {
			return a.exports.ExportInstances
		}, r)
		if err != nil {
			return errors.Join(err, f.w.Flush())
		}
		for _, piece := range page.Pieces {
			if err := f.piece(c.namespace, piece); err != nil {
				return err
			}
		}
		r.After, r.Within, r.Pieces = page.After, page.Within, page.Given
		if ack && f.lines > told && (f.lines-told >= ackEvery || !page.More) {
			if err := c.ackExport(ctx, f, page.After); err != nil {
				return err
			}
			told = f.lines
		}
		if !page.More {
			break
		}
	}
	if err := f.sync(); err != nil {
		return err
	}
	if f.file != nil {
		fmt.Fprintf(c.stdout, "exported %d instances, up to position %d\n", f.lines, r.After)
	}
	return nil
}

// ackExport tells the cluster what is durable.
func (c *cli) ackExport(ctx context.Context, f *exportFile, position int64) error {
	if err := f.sync(); err != nil {
		return err
	}
	_, err := ask(ctx, c, func(a *services) func(context.Context, *connect.Request[v1.AckExportRequest]) (*connect.Response[v1.Namespace], error) {
		return a.exports.AckExport
	}, &v1.AckExportRequest{Namespace: c.namespace, Position: position, Reason: "exported to a file"})
	return err
}

func (f *exportFile) sync() error {
	if err := f.w.Flush(); err != nil || f.file == nil {
		return err
	}
	return f.file.Sync()
}

// piece writes one thing of an instance: a line is never whole in memory.
func (f *exportFile) piece(namespace string, p *v1.ExportPiece) error {
	switch {
	case p.Instance != nil:
		fmt.Fprintf(f.w, exportHead+`,"instance":`, namespace, p.Position)
		f.part = "instance"
		return f.write(p.Instance)
	case p.Run != nil:
		return f.item("runs", p.Run)
	case p.Late != nil:
		return f.item("lateResults", p.Late)
	case p.Event != nil:
		return f.item("events", p.Event)
	case p.Last:
		if f.part != "instance" {
			f.w.WriteByte(']')
		}
		f.part = ""
		f.lines++
		_, err := f.w.WriteString("}\n")
		return err
	}
	return nil // of a newer server
}

func (f *exportFile) item(part string, m proto.Message) error {
	switch {
	case f.part == part:
		f.w.WriteByte(',')
	case f.part != "instance":
		f.w.WriteByte(']')
		fallthrough
	default:
		fmt.Fprintf(f.w, `,%q:[`, part)
	}
	f.part = part
	return f.write(m)
}

// write adds a message: without white space, the same each time.
func (f *exportFile) write(m proto.Message) error {
	b, err := protojson.Marshal(m)
	if err != nil {
		return err
	}
	var line bytes.Buffer
	if err := json.Compact(&line, b); err != nil {
		return err
	}
	_, err = f.w.Write(line.Bytes())
	return err
}
