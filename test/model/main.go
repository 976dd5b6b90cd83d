// Command model is a scripted model: it speaks as a model's server does and says what the model's name in the request
// tells it to. It needs no key and no network. What it can say is in the README of this folder, and printed with -help.
//
//	go run ./test/model -addr 127.0.0.1:11435
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/chatapi/chatapi/test/model/scripted"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "model:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. The address of the API is the only line of stdout.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("model", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = fmt.Fprintf(stderr, "model [-addr 127.0.0.1:0]\n\nThe model of a request is its script:\n\n%s", scripted.Help())
	}
	addr := flags.String("addr", "127.0.0.1:0", "where to listen")
	if err := flags.Parse(args); err == flag.ErrHelp {
		return nil
	} else if err != nil {
		return err
	}
	s, err := scripted.Start(*addr)
	if err != nil {
		return err
	}
	defer s.Close()
	_, _ = fmt.Fprintln(stdout, s.URL)
	<-ctx.Done()
	return nil
}
