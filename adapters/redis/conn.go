// Package redis joins the nodes of a cluster: the bus, presence, limits and socket tickets on one Redis server or one
// Redis Cluster. Nothing durable is kept there: every key has an end, and all of it is built again when it is lost.
// While Redis is away a node goes on alone, as each type says.
package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/chatapi/chatapi/domain"
)

// Config says which Redis, and which part of it.
type Config struct {
	// URL is redis://[user:password@]host:port[/db], or rediss:// for TLS. A list of addresses, host:port,host:port, or
	// the scheme redis+cluster:// (rediss+cluster://) says that it is a Redis Cluster; one address that answers as a
	// cluster when the node starts is taken for one too.
	URL string
	// Epoch is the store's. It is part of every key and channel: installations that share a server do not meet.
	Epoch  domain.Epoch
	Logger *slog.Logger
}

// Conn is this process's part in a Redis: it knows whether Redis answers, and how many nodes use it. The types of this
// package work on one, until it is closed.
type Conn struct {
	client  goredis.UniversalClient
	cluster bool
	prefix  string
	node    string // of this process; random
	log     *slog.Logger

	ctx     context.Context // the life of the goroutines that the types of this package begin; never a call's own
	stop    context.CancelFunc
	running sync.WaitGroup

	prompt atomic.Int64 // beats that were answered soon enough
	nodes  atomic.Int64 // as far as is known; 0 before Redis has first answered

	mu      sync.Mutex
	healthy bool
	since   time.Time
}

const (
	timeout   = time.Second // of dialling, and of any call
	beatEvery = time.Second
	nodeLife  = 5 * time.Second        // of a node that is not heard of any more
	keySpare  = time.Second            // that keys outlive what they are for
	askWait   = 100 * time.Millisecond // what a call waits for Redis at most
	poolSize  = 16
)

// Open connects to Redis. One that does not answer is no error: the node starts alone, and joins when Redis is there.
func Open(cfg Config) (*Conn, error) {
	opts, cluster, err := parse(cfg.URL)
	if err != nil {
		return nil, err
	}
	quiet.Do(func() { goredis.SetLogger(silent{}) })
	c := &Conn{
		prefix: "chatapi:" + string(cfg.Epoch) + ":", node: randomID(), log: cfg.Logger,
		since: time.Now(), healthy: true,
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	if c.cluster = cluster || isCluster(c.ctx, opts); c.cluster {
		opts.DB, opts.IsClusterMode = 0, true
	}
	c.client = goredis.NewUniversalClient(opts)
	c.beat()
	c.run(c.keepBeating)
	return c, nil
}

var errURL = errors.New("the Redis URL is malformed: want redis://[user:password@]host:port[/db], or rediss:// for TLS")

// CheckURL says whether Open can read a URL. Its error says nothing of what is in it.
func CheckURL(url string) error {
	_, _, err := parse(url)
	return err
}

// parse reads a URL. Its errors never say what was in it: that may be a password.
func parse(url string) (opts *goredis.UniversalOptions, cluster bool, err error) {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return nil, false, errURL
	}
	base, cluster := strings.CutSuffix(scheme, "+cluster")
	if base != "redis" && base != "rediss" {
		return nil, false, errURL
	}
	authority, path, _ := strings.Cut(rest, "/")
	at := strings.LastIndexByte(authority, '@') + 1
	hosts := strings.Split(authority[at:], ",")
	one, err := goredis.ParseURL(base + "://" + authority[:at] + hosts[0] + "/" + path)
	if err != nil {
		return nil, false, errURL
	}
	addrs := []string{one.Addr}
	for _, host := range hosts[1:] {
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(host, "6379")
		}
		addrs = append(addrs, host)
	}
	return &goredis.UniversalOptions{
		Addrs: addrs, Username: one.Username, Password: one.Password, DB: one.DB, TLSConfig: one.TLSConfig,
		Protocol: 2, DisableIdentity: true, PoolSize: poolSize, ContextTimeoutEnabled: true,
		DialTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout, PoolTimeout: timeout,
		DialerRetries: 1, MaxRetries: -1, // what was sent twice could count twice
	}, cluster || len(hosts) > 1, nil
}

// isCluster asks the server, if it is there.
func isCluster(ctx context.Context, opts *goredis.UniversalOptions) bool {
	client := goredis.NewClient(opts.Simple())
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	info, err := client.Info(ctx, "cluster").Result()
	return err == nil && strings.Contains(info, "cluster_enabled:1")
}

func randomID() string {
	id := make([]byte, idSize)
	_, _ = rand.Read(id) // never fails
	return hex.EncodeToString(id)
}

// quiet keeps the client library from writing to stderr on its own: what matters is logged here, without addresses.
var quiet sync.Once

type silent struct{}

// Printf implements the library's logger.
func (silent) Printf(context.Context, string, ...any) {}

// Close ends everything that was begun on c, and waits for it.
func (c *Conn) Close() error {
	c.stop()
	c.running.Wait()
	if ok, _ := c.Healthy(); ok {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		_ = c.client.ZRem(ctx, c.key("nodes"), c.node).Err() // else it ends by itself
	}
	return c.client.Close()
}

// run has fn run until c is closed.
func (c *Conn) run(fn func(ctx context.Context)) { c.running.Go(func() { fn(c.ctx) }) }

// key is a key or channel of this installation.
func (c *Conn) key(name string) string { return c.prefix + name }

// Healthy says whether Redis answers, and since when that is so.
func (c *Conn) Healthy() (ok bool, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.healthy, c.since
}

// Nodes is how many nodes use this Redis, as far as was last known; at least 1.
func (c *Conn) Nodes() int { return int(max(1, c.nodes.Load())) }

func (c *Conn) keepBeating(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.beat()
		}
	}
}

// beatScript notes that a node is there, and counts those that are.
var beatScript = goredis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now - ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])`)

// beat says that this node is there, and finds out whether Redis is.
func (c *Conn) beat() {
	began := time.Now()
	ctx, cancel := context.WithTimeout(c.ctx, timeout)
	defer cancel()
	n, err := beatScript.Run(ctx, c.client, []string{c.key("nodes")}, c.node, nodeLife.Milliseconds()).Int64()
	if c.ctx.Err() != nil {
		return
	}
	c.note(err)
	if err != nil {
		return
	}
	c.nodes.Store(n)
	if time.Since(began) < askWait || c.prompt.Load() == 0 { // the first has to find its way
		c.prompt.Add(1)
	}
}

// isRefused reports an answer that says who may not do what.
func isRefused(err error) bool {
	return goredis.HasErrorPrefix(err, "WRONGPASS") || goredis.HasErrorPrefix(err, "NOAUTH") || goredis.HasErrorPrefix(err, "NOPERM")
}

// note keeps whether Redis answers, and logs when that changes.
func (c *Conn) note(err error) {
	c.mu.Lock()
	changed := c.healthy != (err == nil)
	if changed {
		c.healthy, c.since = err == nil, time.Now()
	}
	c.mu.Unlock()
	switch {
	case changed && isRefused(err):
		c.log.Error("redis refuses this node, which goes on alone: REDIS_URL needs another user or password, or rights for its commands", "error", err)
	case changed && err != nil:
		c.log.Warn("redis does not answer: this node goes on alone", "error", err)
	case changed:
		c.log.Info("redis answers again")
	}
}

// call is one run of a script.
type call struct {
	key  []string
	args []any
}

// evalAll runs a script many times in one round trip. A run that failed has its error.
func (c *Conn) evalAll(ctx context.Context, script *goredis.Script, calls []call) []*goredis.Cmd {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmds := make([]*goredis.Cmd, len(calls))
	pipe := c.client.Pipeline()
	for i, call := range calls {
		cmds[i] = script.EvalSha(ctx, pipe, call.key, call.args...)
	}
	_, _ = pipe.Exec(ctx)
	unknown := c.client.Pipeline() // a server that has been started again has forgotten its scripts
	for i, cmd := range cmds {
		if goredis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
			cmds[i] = script.Eval(ctx, unknown, calls[i].key, calls[i].args...)
		}
	}
	if unknown.Len() > 0 {
		_, _ = unknown.Exec(ctx)
	}
	return cmds
}

var errAway = errors.New("redis did not answer a moment ago")

// knownAway is the error of a call that need not be tried: the next beat finds out when Redis is there again. Those who
// would wait for it meanwhile would take the connections from that beat.
func (c *Conn) knownAway(doing string) error {
	if ok, _ := c.Healthy(); ok {
		return nil
	}
	return away(doing, errAway)
}

// away is an answer that could not be had.
func away(doing string, err error) error {
	return fmt.Errorf("%s: %w: %w", doing, domain.ErrAlone, err)
}
