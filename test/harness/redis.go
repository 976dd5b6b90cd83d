package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// Redis is a private redis-server that keeps nothing on disk. Stopped and started again it has the same port, and is empty.
type Redis struct {
	Password string

	dir  string
	port int
	proc *process
}

// LaunchRedis starts a server and waits until it answers. The caller ends it with Close.
func LaunchRedis() (*Redis, error) {
	dir, err := os.MkdirTemp("", "chatapi-redis-")
	if err != nil {
		return nil, err
	}
	r := &Redis{Password: "redis-" + randomHex(16), dir: dir}
	const tries = 3
	for range tries { // another process may take the port first
		if r.port, err = FreePort(); err != nil {
			break
		}
		if err = r.Start(); err == nil {
			return r, nil
		}
	}
	return nil, errors.Join(err, os.RemoveAll(dir))
}

// Start starts the process on its port, and waits until it answers.
func (r *Redis) Start() error {
	log, err := os.OpenFile(filepath.Join(r.dir, "redis.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own copy
	cmd := exec.Command("redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(r.port), "--save", "", "--appendonly", "no",
		"--requirepass", r.Password, "--dir", r.dir, "--daemonize", "no")
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.dir, log, log
	if r.proc, err = run(cmd); err != nil {
		return fmt.Errorf("redis-server, which the cluster's tests need: %w", err)
	}
	err = Until(startTimeout, "redis-server answers", func() bool { return r.proc.ended() || r.listens() && r.answers() })
	if err == nil && r.proc.ended() {
		err = fmt.Errorf("redis-server ended at its start with code %d", r.proc.code())
	}
	return err
}

// listens is asked before answers, as the library writes of each failure to connect.
func (r *Redis) listens() bool {
	c, err := net.DialTimeout("tcp", r.Address(), requestTimeout)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

func (r *Redis) answers() bool {
	return r.with(func(ctx context.Context, c *redis.Client) error { return c.Ping(ctx).Err() }) == nil
}

// Address is where it listens.
func (r *Redis) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port)) }

// URL is what REDIS_URL takes.
func (r *Redis) URL() string { return fmt.Sprintf("redis://:%s@%s", r.Password, r.Address()) }

// with makes one call as an operator would.
func (r *Redis) with(call func(context.Context, *redis.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	c := redis.NewClient(&redis.Options{Addr: r.Address(), Password: r.Password, PoolSize: 1, MaxRetries: -1, DialerRetries: 1})
	defer c.Close()
	return call(ctx, c)
}

// Stop is kill -9: it returns when the process is gone.
func (r *Redis) Stop() error {
	if r.proc.ended() {
		return nil
	}
	return r.proc.kill(r.proc.cmd.Process.Pid)
}

// Pause stops the process in the middle of whatever it does; Resume lets it go on.
func (r *Redis) Pause() error { return stopped(r.proc.cmd.Process.Pid) }

// Resume lets a paused process go on.
func (r *Redis) Resume() error { return goesOn(r.proc.cmd.Process.Pid) }

// Flush forgets everything.
func (r *Redis) Flush() error {
	return r.with(func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() })
}

// KillSubscribers closes the connections of all subscribers and returns how many there were.
func (r *Redis) KillSubscribers() (killed int64, err error) {
	err = r.with(func(ctx context.Context, c *redis.Client) (err error) {
		killed, err = c.ClientKillByFilter(ctx, "TYPE", "pubsub").Result()
		return err
	})
	return killed, err
}

// Lasting are the keys that have no end: nothing durable may be in Redis.
func (r *Redis) Lasting() (lasting []string, err error) {
	err = r.with(func(ctx context.Context, c *redis.Client) error {
		keys := c.Scan(ctx, 0, "*", 1000).Iterator()
		for keys.Next(ctx) {
			left, err := c.PTTL(ctx, keys.Val()).Result()
			if err != nil {
				return err
			}
			if left == -1 { // as Redis says it, in no unit
				lasting = append(lasting, keys.Val())
			}
		}
		return keys.Err()
	})
	return lasting, err
}

// Close ends the server and removes what it has written.
func (r *Redis) Close() error { return errors.Join(r.Stop(), os.RemoveAll(r.dir)) }
