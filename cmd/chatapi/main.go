// Command chatapi is the chat server and its operator's commands: it reads the configuration, chooses the adapters
// once, and starts and stops things in order.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"
)

// commands is the command line.
type commands struct {
	Serve   serveCommand   `cmd:"" default:"withargs" help:"Run the server (the default)."`
	Tenant  tenantCommand  `cmd:"" help:"Make, list, show and delete tenants."`
	Key     keyCommand     `cmd:"" help:"Make and revoke a tenant's keys."`
	Token   tokenCommand   `cmd:"" help:"Mint a JWT for a user."`
	Migrate migrateCommand `cmd:"" help:"Show the store's schema, or bring it up to date."`
	Store   storeCommand   `cmd:"" help:"Back a store up, and make a restored one ready."`
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
	if word, ok := unknownCommand(parser.Model, args); ok {
		return printCommands(c, parser.Model, word)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		parser.FatalIfErrorf(err) // prints usage, exits with 80
	}
	parsed.Bind(c)
	parsed.BindTo(context.Background(), (*context.Context)(nil))
	return complain(c, parsed.Run())
}

// unknownCommand is a first word that is no command. The parser would take it for an argument of serve, the default.
func unknownCommand(known *kong.Application, args []string) (word string, ok bool) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return "", false
	}
	return args[0], !slices.ContainsFunc(known.Children, func(n *kong.Node) bool { return n.Name == args[0] })
}

// usageError is the exit code of a command line that cannot be read, as the parser has it.
const usageError = 80

func printCommands(c console, known *kong.Application, word string) int {
	_, _ = fmt.Fprintf(c.err, "chatapi: there is no command %q. The commands are:\n\n", word)
	table := tabwriter.NewWriter(c.err, 0, 0, 2, ' ', 0)
	for _, command := range known.Children {
		_, _ = fmt.Fprintf(table, "  %s\t%s\n", command.Name, command.Help)
	}
	_ = table.Flush() // as little can be done about it as about the lines around
	_, _ = fmt.Fprintln(c.err, "\nEach of them has --help.")
	return usageError
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
