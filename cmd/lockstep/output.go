package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// print shows a reply: as JSON where that is asked for, else as text makes it.
func (c *cli) print(m proto.Message, text func()) error {
	if !c.json {
		text()
		return nil
	}
	return c.printProto(m)
}

// printProto shows a message as JSON. protobuf's own has spaces by chance; this is the same each time.
func (c *cli) printProto(m proto.Message) error {
	b, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return err
	}
	return c.printJSON(json.RawMessage(b))
}

func (c *cli) printJSON(v any) error {
	e := json.NewEncoder(c.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// table prints aligned columns.
func (c *cli) table(head []string, rows [][]string) {
	if len(rows) == 0 {
		fmt.Fprintln(c.stdout, "none")
		return
	}
	w := tabwriter.NewWriter(c.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, strings.ToUpper(strings.Join(head, "\t")))
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush()
}

// terminal: somebody is at the other end of the stream.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Colours of states, on terminals only, and not where NO_COLOR asks for none.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
	grey   = "90"
)

func (c *cli) paint(colour, s string) string {
	if !terminal(c.stdout) || os.Getenv("NO_COLOR") != "" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// when shows a time.
func when(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().Local().Format("2006-01-02 15:04:05")
}

// short cuts a text to fit a column.
func short(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	runes := []rune(s)
	return string(runes[:n-1]) + "…"
}

// progress tells on a terminal that something goes on; it returns what ends the line.
func (c *cli) progress(what string) (update func(string), done func()) {
	if !terminal(c.stderr) {
		return func(string) {}, func() {}
	}
	began := time.Now()
	show := func(s string) {
		fmt.Fprintf(c.stderr, "\r\x1b[K%s %s %s", what, time.Since(began).Round(100*time.Millisecond), s)
	}
	show("")
	return show, func() { fmt.Fprint(c.stderr, "\r\x1b[K") }
}
