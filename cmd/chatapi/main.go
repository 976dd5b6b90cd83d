// Command chatapi is the chat server and its operator's commands: it reads the configuration, chooses the adapters
// once, and starts and stops things in order.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"
)

// commands is the command line.
type commands struct {
	Serve   serveCommand   `cmd:"" default:"withargs" help:"Run the server (the default)."`
	Tenant  tenantCommand  `cmd:"" help:"Make, list, show and delete tenants."`
	Key     keyCommand     `cmd:"" help:"Make and revoke a tenant's keys."`
	Token   tokenCommand   `cmd:"" help:"Mint a JWT for a user."`
	Config  configCommand  `cmd:"" help:"Print the effective configuration, secrets masked."`
	Health  healthCommand  `cmd:"" help:"Ask a running server whether it is healthy."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

// console is where a command reads its configuration from and writes to.
type console struct {
	environ []string
	out     io.Writer // what was asked for
	err     io.Writer // logs and complaints
}

// exitCode ends the process with a code and without another word.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

func main() {
	os.Exit(run(os.Args[1:], console{environ: os.Environ(), out: os.Stdout, err: os.Stderr}))
}

func run(args []string, c console) int {
	parser, err := kong.New(&commands{},
		kong.Name("chatapi"),
		kong.Description("A chat server: rooms, messages and delivery over REST and WebSocket. Settings come from the "+
			"environment and a .env file; `chatapi config` lists them."),
		kong.Writers(c.out, c.err),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		return complain(c, err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		parser.FatalIfErrorf(err) // prints usage, exits with 80
	}
	parsed.Bind(c)
	parsed.BindTo(context.Background(), (*context.Context)(nil))
	return complain(c, parsed.Run())
}

// complain says what went wrong, in one line, and returns the exit code.
func complain(c console, err error) int {
	if err == nil {
		return 0
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	_, _ = fmt.Fprintf(c.err, "chatapi: %v\n", err)
	return 1
}
