package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// PGServer is a private Postgres with a role for the servers under test that may make roles and databases, and no more: the
// rights that an operator would give.
type PGServer struct {
	Password string // of the role chatapi
	Durable  bool   // with fsync; without, data are for a test's life

	dir      string
	binaries string // the folder of initdb and postgres
	port     int
	proc     *process

	template sync.Mutex // CREATE DATABASE waits for nobody else who uses the template
	made     int

	migrating sync.Mutex
	migrated  string   // a database to copy; empty before the first
	wipe      string   // statements that leave no row in one like it
	spare     []string // such databases that nobody uses
}

// LaunchPG makes a new database cluster and starts it. The caller ends it with Close.
func LaunchPG(durable bool) (*PGServer, error) {
	binaries, err := pgBinaries()
	if err != nil {
		return nil, err
	}
	parent := ""
	if !durable {
		parent = memoryDir()
	}
	dir, err := os.MkdirTemp(parent, "chatapi-pg-")
	if err != nil {
		return nil, err
	}
	p := &PGServer{Password: "pg-" + randomHex(16), Durable: durable, dir: dir, binaries: binaries}
	if err = p.init(); err == nil {
		const tries = 3
		for range tries { // another process may take the port first
			if p.port, err = FreePort(); err != nil {
				break
			}
			if err = p.Start(); err == nil {
				break
			}
		}
	}
	if err == nil {
		err = p.do("postgres", fmt.Sprintf("CREATE ROLE chatapi LOGIN CREATEROLE CREATEDB PASSWORD '%s'", p.Password))
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// memoryDir is a folder in memory with room for what tests store, else empty. What others write to a disk would hold up even a
// server that does not wait for its own writes.
func memoryDir() string {
	const dir, enough = "/dev/shm", 4 << 30
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < enough {
		return ""
	}
	return dir
}

// pgBinaries is the folder of the newest Postgres that is installed.
func pgBinaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // Debian keeps them apart
	if err != nil || len(found) == 0 {
		return "", errors.New("no Postgres is installed, which the cluster's tests need: initdb is not found")
	}
	return filepath.Dir(slices.Max(found)), nil
}

// command is a program of Postgres as a user who is not root: it refuses to run as that.
func (p *PGServer) command(name string, args ...string) (*exec.Cmd, error) {
	cmd := exec.Command(filepath.Join(p.binaries, name), args...)
	cmd.Dir = p.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	if os.Getuid() != 0 {
		return cmd, nil
	}
	owner, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(owner.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(owner.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return cmd, os.Chown(p.dir, int(uid), int(gid))
}

func (p *PGServer) data() string { return filepath.Join(p.dir, "data") }

// init makes the files. The superuser comes in without a password, from this machine alone; the role of the tests needs one.
func (p *PGServer) init() error {
	cmd, err := p.command("initdb", "-D", p.data(), "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	const access = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 password\n" // over TLS in life; here it is cheap
	return os.WriteFile(filepath.Join(p.data(), "pg_hba.conf"), []byte(access), 0o600)
}

// Start starts the process on its port, and waits until it answers.
func (p *PGServer) Start() error {
	settings := map[string]string{
		"listen_addresses": "127.0.0.1", "port": strconv.Itoa(p.port), "unix_socket_directories": "", "max_connections": "600",
		"shared_buffers": "64MB", "log_min_messages": "fatal", "autovacuum_naptime": "5s",
	}
	if !p.Durable {
		settings["autovacuum"] = "off" // else plans depend on when it last looked at tables that tests fill and empty in turn
		settings["fsync"], settings["full_page_writes"], settings["synchronous_commit"] = "off", "off", "off"
	}
	args := []string{"-D", p.data()}
	for name, value := range settings {
		args = append(args, "-c", name+"="+value)
	}
	cmd, err := p.command("postgres", args...)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(p.dir, "postgres.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own copy
	cmd.Stdout, cmd.Stderr = log, log
	if p.proc, err = run(cmd); err != nil {
		return err
	}
	err = Until(startTimeout, "postgres answers", func() bool { return p.proc.ended() || p.do("postgres", "SELECT 1") == nil })
	if err == nil && p.proc.ended() {
		said, _ := os.ReadFile(log.Name())
		err = fmt.Errorf("postgres ended at its start with code %d\n%s", p.proc.code(), tail(string(said), 10))
	}
	return err
}

// Stop ends it in immediate mode, as a crash would: its next start recovers from the log.
func (p *PGServer) Stop() error {
	if p.proc.ended() {
		return nil
	}
	if err := syscall.Kill(p.proc.cmd.Process.Pid, syscall.SIGQUIT); err != nil {
		return ignoreGone(err)
	}
	return p.proc.await(killPatience)
}

// Close ends it and removes its data.
func (p *PGServer) Close() error { return errors.Join(p.Stop(), os.RemoveAll(p.dir)) }

// URL is what DATABASE_DSN takes for one of its databases.
func (p *PGServer) URL(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword("chatapi", p.Password), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)),
		Path: database,
	}
	return u.String()
}

// connect opens a connection as the superuser.
func (p *PGServer) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", p.port, database))
}

// do runs a statement as the superuser.
func (p *PGServer) do(database, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	conn, err := p.connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

// Do runs a statement in a database as its superuser, whom no policy holds back.
func (p *PGServer) Do(database, statement string) error { return p.do(database, statement) }

// NewDatabase makes an empty database that the tests' role owns.
func (p *PGServer) NewDatabase() (name string, err error) {
	p.template.Lock()
	defer p.template.Unlock()
	p.made++
	name = fmt.Sprintf("chat%d_%d", p.made, time.Now().UnixNano())
	return name, p.do("postgres", fmt.Sprintf("CREATE DATABASE %s OWNER chatapi", name))
}

// NewMigrated makes a database with a schema and no rows, like one that migrate was called with, once in the life of the server.
// What is one installation's alone is made by who opens it first. Who has not altered the schema hands it back with Reuse.
func (p *PGServer) NewMigrated(migrate func(url string) error) (name string, err error) {
	p.migrating.Lock()
	defer p.migrating.Unlock()
	if p.migrated == "" {
		if err := p.learn(migrate); err != nil {
			return "", err
		}
	}
	if n := len(p.spare); n > 0 {
		name, p.spare = p.spare[n-1], p.spare[:n-1]
		return name, nil
	}
	return p.Clone(p.migrated)
}

// learn makes the database that others copy.
func (p *PGServer) learn(migrate func(url string) error) error {
	name, err := p.NewDatabase()
	if err != nil {
		return err
	}
	if err := migrate(p.URL(name)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	conn, err := p.connect(ctx, name)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
	if err != nil {
		return err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	statements := []string{"SET session_replication_role = replica"} // foreign keys are of no interest
	for _, table := range tables {
		switch table {
		case "goose_db_version":
		case "outbox_state": // its one row is the schema's
			statements = append(statements, "UPDATE outbox_state SET now = 0")
		default:
			statements = append(statements, "DELETE FROM "+table)
		}
	}
	p.migrated, p.wipe = name, strings.Join(statements, "; ")
	return nil
}

// Reuse takes back a database that NewMigrated has made: removing its rows costs a tenth of another database.
func (p *PGServer) Reuse(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	conn, err := p.connect(ctx, name)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var others int
	alone := func() bool { // those of nodes that were killed go a moment later
		const end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
		err = conn.QueryRow(ctx, end).Scan(&others)
		return err != nil || others == 0
	}
	if late := Until(requestTimeout, "nobody else uses "+name, alone); late != nil || err != nil {
		return errors.Join(late, err)
	}
	if _, err := conn.Exec(ctx, p.wipe); err != nil {
		return fmt.Errorf("empty %s: %w", name, err)
	}
	p.migrating.Lock()
	defer p.migrating.Unlock()
	p.spare = append(p.spare, name)
	return nil
}

// Drop removes a database, whoever is connected to it.
func (p *PGServer) Drop(name string) error {
	return p.do("postgres", fmt.Sprintf("DROP DATABASE IF EXISTS %s WITH (FORCE)", name))
}
