package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"text/tabwriter"
	"time"
)

type configCommand struct {
	Flags
	printing
}

// Run prints where every setting's value comes from; it is also how to check a configuration before a start.
func (k *configCommand) Run(c console) error {
	cfg, err := loadConfig(c.environ, k.Flags)
	if err != nil {
		return err
	}
	if k.JSON {
		return writeJSON(c.out, cfg.Values)
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, v := range cfg.Values {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", v.Name, v.Value, v.Source)
	}
	return table.Flush()
}

type healthCommand struct {
	URL     string        `name:"url" help:"Where the server is; default the address in LISTEN_ADDR."`
	Timeout time.Duration `default:"5s" help:"How long to wait for the answer."`
	printing
}

// Run exits with 0 when the server is healthy and with 1 when it is not or does not answer.
func (h *healthCommand) Run(ctx context.Context, c console) error {
	base := h.URL
	if base == "" {
		cfg, err := commandConfig(c)
		if err != nil {
			return err
		}
		base = "http://" + reachable(cfg.ListenAddr)
	}
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/health", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	const enough = 64 << 10
	body, err := io.ReadAll(io.LimitReader(res.Body, enough))
	if err != nil {
		return err
	}
	if err := h.print(c, body, "status", "version", "uptime", "db_writable"); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return exitCode(1)
	}
	return nil
}

// reachable is an address to dial for one that is listened on: every interface includes loopback.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err == nil && (host == "" || net.ParseIP(host).IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return listen
}

type versionCommand struct{ printing }

// Run implements the command.
func (v *versionCommand) Run(c console) error {
	if v.JSON {
		platform := runtime.GOOS + "/" + runtime.GOARCH
		return writeJSON(c.out, map[string]string{"version": version(), "go": runtime.Version(), "platform": platform})
	}
	_, err := fmt.Fprintf(c.out, "chatapi %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// release is set by the build: -ldflags "-X main.release=v1.2.3".
var release string

// version is the release, else the module's version, else the commit it was built from.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			const enough = 12
			return s.Value[:min(enough, len(s.Value))]
		}
	}
	return "devel"
}
