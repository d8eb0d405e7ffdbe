package main

import (
	"bytes"
	"io"
)

// lines writes whole lines only, each with a head that says whose it is: several runs may be told beside each other.
type lines struct {
	to   io.Writer
	head string
	part []byte
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.part = append(l.part, p...)
	for {
		line, rest, whole := bytes.Cut(l.part, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		if _, err := l.to.Write(append(append([]byte(l.head), line...), '\n')); err != nil {
			return 0, err
		}
		l.part = rest
	}
}
