package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/chatapi/chatapi/adapters/httpapi"
)

type serveCommand struct{ Flags }

// Run runs the server until SIGTERM or SIGINT, or until it cannot go on.
func (s *serveCommand) Run(ctx context.Context, c console) error {
	cfg, err := loadConfig(c.environ, s.Flags)
	if err != nil {
		return err
	}
	log := newLogger(cfg, c.err)
	slog.SetDefault(log) // for what a library prints on its own
	ctx, restoreSignals := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer restoreSignals()
	a, closeStore, err := newApp(ctx, cfg, log)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("stopped before the server had started: %w", err)
	}
	if err != nil {
		return err
	}
	var forced *time.Timer
	failed := a.serve(ctx, c.out, func() {
		restoreSignals()
		forced = a.forceExitLater()
	})
	closeStore()
	if forced != nil {
		forced.Stop() // all is done in time
	}
	if failed == nil {
		log.Info("stopped")
	}
	return failed
}

// serve starts what newApp has joined, waits for the signal or a failure, and stops it again, all but the store.
func (a *app) serve(ctx context.Context, out io.Writer, stopping func()) error {
	demo, err := a.prepare(ctx)
	if err != nil {
		return err
	}
	l, err := a.listen()
	if err != nil {
		return err
	}
	stopCore := a.startCore()
	failed := l.serve()
	a.announce(ctx, l)
	if demo != "" {
		printDemo(out, reachable(l.address()), demo)
	}
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	// From here on a second signal has its ordinary effect: the process ends at once. Nothing acknowledged is lost by it.
	stopping()
	a.stop(l, stopCore)
	return err
}

// prepare makes what must exist before the first request.
func (a *app) prepare(ctx context.Context) (demoKey string, err error) {
	if a.cfg.JWTSecret.IsSet() {
		if err := a.tenancy.EnsureDefault(ctx); err != nil {
			return "", fmt.Errorf("make the default tenant: %w", err)
		}
	}
	if !a.cfg.Dev {
		return "", nil
	}
	if demoKey, err = a.demoKey(ctx); err != nil {
		return "", fmt.Errorf("make the demo tenant: %w", err)
	}
	return demoKey, nil
}

// startCore runs what works behind the requests. The returned function ends it in order: what takes from sockets first,
// the fan-out last.
func (a *app) startCore() (stop func()) {
	sockets := a.start("sockets", a.sockets.Run)
	chatSockets := a.start("chat sockets", a.chatSockets.Run)
	chats := a.start("chats", a.chats.Run)
	presence := a.start("presence", a.presence.Run)
	marks := a.start("delivery marks", a.delivery.Run)
	hints := a.start("hints", a.hints.Run)
	courier := a.start("courier", a.courier.Run)
	notifications := a.start("notifications", a.notifications.Run)
	runner := a.start("bots", a.runner.Run)
	usage := a.start("usage", a.usage.Run)
	upkeep := a.start("upkeep", a.upkeep.Run)
	revocations := a.start("revocations", a.revocations.Run)
	slots := a.start("slots", a.slots.Run)
	fanout := a.start("fan-out", a.fanout.Run)
	return func() {
		sockets()
		chatSockets()
		chats()
		runner()
		courier()
		notifications()
		presence()
		marks()
		hints()
		usage()
		upkeep()
		revocations()
		fanout()
		slots()
	}
}

func (a *app) start(name string, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := run(ctx); err != nil {
			a.log.Error("background work failed", "work", name, "error", err)
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// stop ends the server in peace: readiness says so, nobody new comes in, marks are written, sockets are told and closed,
// and what ran behind them ends. The operator's own doors stay open until the clients have left: how that goes on can be
// seen, in the metrics and in the readiness that the socket beside the store tells. The store is the caller's to close.
func (a *app) stop(l *listeners, stopCore func()) {
	const shareOfDrain = 0.8 // the rest is for closing the store
	a.log.Info("stopping")
	a.draining.set.Store(true)
	patience := time.Duration(shareOfDrain * float64(a.cfg.ShutdownDrainTimeout))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	requestsDone := shutdown(ctx, a.log, l.public)
	a.drainBots(ctx, patience/2)
	a.delivery.Flush(ctx)
	a.drainSockets(ctx, patience)
	requestsDone()
	shutdown(ctx, a.log, l.private...)()
	stopCore()
}

// drainSockets ends the sockets of both kinds.
func (a *app) drainSockets(ctx context.Context, patience time.Duration) {
	var draining sync.WaitGroup
	draining.Go(func() { a.sockets.Drain(ctx, patience) })
	draining.Go(func() { a.chatSockets.Drain(ctx, patience) })
	draining.Wait()
}

// drainBots lets answers under way come to their end while there are sockets to see them.
func (a *app) drainBots(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a.runner.Drain(ctx)
}

// forceExitLater ends the process when stopping, the store included, takes longer than was allowed. Everything
// acknowledged is on disk by then.
func (a *app) forceExitLater() *time.Timer {
	return time.AfterFunc(a.cfg.ShutdownDrainTimeout, func() {
		a.log.Error("not stopped within SHUTDOWN_DRAIN_TIMEOUT", "timeout", a.cfg.ShutdownDrainTimeout.String())
		os.Exit(1)
	})
}

// door is an open listener with the server behind it.
type door struct {
	net.Listener
	server *http.Server
}

// listeners are the open doors of the server.
type listeners struct {
	public  door
	private []door // the operator's
	admin   string // address, or off
}

// listen opens the doors and serves none yet.
func (a *app) listen() (*listeners, error) {
	public, err := net.Listen("tcp", a.cfg.ListenAddr)
	if err != nil {
		return nil, fmt.Errorf("LISTEN_ADDR: %w (set another address, as in LISTEN_ADDR=127.0.0.1:8081 %s)", err, a.cfg.startCommand())
	}
	l := &listeners{public: door{public, httpapi.Server(a.cfg.ListenAddr, a.public, a.log)}, admin: "off"}
	if a.cfg.AdminAddr != "" {
		admin, err := net.Listen("tcp", a.cfg.AdminAddr)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("ADMIN_ADDR: %w (set another address, or off)", err), public.Close())
		}
		l.admin = admin.Addr().String()
		l.private = append(l.private, door{admin, plainServer(a.admin, a.log)})
	}
	if a.cfg.onPostgres() {
		return l, nil // commands work on the database, beside any number of servers
	}
	if operator, err := listenOperator(a.cfg.socketPath()); err == nil {
		l.private = append(l.private, door{operator, plainServer(a.operator, a.log)})
	} else {
		a.log.Warn("no operator's socket: the tenant and key commands work only while the server is stopped", "error", err)
	}
	return l, nil
}

// plainServer is for the operator's own doors: a profile may take a minute to write.
func plainServer(h http.Handler, log *slog.Logger) *http.Server {
	const slow = 10 * time.Second
	errorLog := slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	return &http.Server{Handler: h, ReadHeaderTimeout: slow, ReadTimeout: slow, ErrorLog: errorLog}
}

func (l *listeners) address() string { return l.public.Addr().String() }

// serve answers at all doors; the channel tells of the first that fails.
func (l *listeners) serve() (failed <-chan error) {
	doors := append([]door{l.public}, l.private...)
	errs := make(chan error, len(doors))
	for _, d := range doors {
		go func() {
			if err := d.server.Serve(d.Listener); !errors.Is(err, http.ErrServerClosed) {
				errs <- fmt.Errorf("listen on %s: %w", d.Addr(), err)
			}
		}()
	}
	return errs
}

// shutdown closes doors at once; the returned function waits for the requests under way, and cuts those that are not done
// when ctx ends.
func shutdown(ctx context.Context, log *slog.Logger, doors ...door) (wait func()) {
	var running sync.WaitGroup
	for _, d := range doors {
		running.Go(func() {
			if err := d.server.Shutdown(ctx); err != nil {
				log.Warn("requests cut at the end of the drain", "address", d.Addr().String(), "error", err)
				_ = d.server.Close() // it is closed either way
			}
		})
	}
	return running.Wait
}

// announce says where the server is, and what an operator should know about how it was set up.
func (a *app) announce(ctx context.Context, l *listeners) {
	a.log.Info("listening", "address", l.address(), "version", version(), "store", a.cfg.storeName(), "admin", l.admin)
	if a.cfg.isExposed() {
		a.log.Warn("plain HTTP is reachable from other machines: put a proxy with TLS in front and name it in TRUSTED_PROXIES")
	}
	if a.cfg.UnsafeDurability {
		a.log.Warn("running with --unsafe-durability: a power cut loses or damages the store")
	}
	if a.cfg.RedisURL != "" && !a.cfg.onPostgres() {
		a.log.Warn("REDIS_URL has no effect: a SQLite file has one server; nodes are joined by a Postgres database")
	}
	if tenants, _, err := a.tenancy.List(ctx, 0, 1); err == nil && len(tenants) == 0 {
		a.log.Info("there is no tenant yet: make one with this command", "command", a.cfg.command("tenant create my-app"))
	}
}
