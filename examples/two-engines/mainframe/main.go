// Command mainframe is the other engine of the example: a process with books of its own, which takes orders, does two steps of each, and reports
// them to Lockstep by its JSON over HTTP. It knows nothing of workflows, and uses nothing but the standard library.
//
//	mainframe serve --books FILE [--lose STEP:INSTANCE,...]   takes orders, at $MAINFRAME
//	mainframe order INSTANCE                                   gives it one
//	mainframe wait INSTANCE                                    waits until it is through with an order, and shows its books
//	mainframe tell INSTANCE                                    has it report again what it has done of an order
//
// Lockstep is at $LOCKSTEP_SERVER.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mainframe:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	address := cmp.Or(os.Getenv("MAINFRAME"), "127.0.0.1:7480")
	if len(args) == 2 && (args[0] == "order" || args[0] == "wait" || args[0] == "tell") {
		return ask(ctx, "http://"+address+"/"+args[0]+"?instance="+args[1])
	}
	if len(args) == 0 || args[0] != "serve" {
		return errors.New("usage: mainframe serve | order INSTANCE | wait INSTANCE | tell INSTANCE")
	}
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	books := f.String("books", "books.jsonl", "file of what was done")
	lose := f.String("lose", "", "STEP:INSTANCE,..., whose reports never leave")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	server, _, _ := strings.Cut(cmp.Or(os.Getenv("LOCKSTEP_SERVER"), "127.0.0.1:7400"), ",")
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	e, err := open(ctx, *books, &lockstep{server, strings.Split(*lose, ",")})
	if err != nil {
		return err
	}
	defer e.close()
	return e.serve(ctx, address)
}

// ask asks the process that serves, and shows its answer. It waits a little for it to be there.
func ask(ctx context.Context, url string) error {
	for until := time.Now().Add(10 * time.Second); ; {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			if time.Now().After(until) || ctx.Err() != nil {
				return err
			}
			time.Sleep(50 * time.Millisecond)
			continue
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(answer.Body)
			return fmt.Errorf("%s: %s", answer.Status, strings.TrimSpace(string(text)))
		}
		_, err = io.Copy(os.Stdout, answer.Body)
		return err
	}
}
