package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ErrServer is a server that cannot keep the store's promises.
var ErrServer = errors.New("postgres: the server cannot keep what it confirms")

// ErrRoles are roles that are missing, and that the DSN's user may not make.
var ErrRoles = errors.New("postgres: the roles of the store are missing")

// oldest is the lowest server version served, as server_version_num says it.
const oldest = 130000

// checkServer refuses a server that is too old, and one that loses what it has confirmed.
func checkServer(ctx context.Context, c *pgx.Conn, cfg Config) error {
	var version int
	if err := c.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return fmt.Errorf("read the server's version: %w", err)
	}
	if version < oldest {
		return fmt.Errorf("%w: its version is %d.%d, and %d is the oldest served", ErrServer, version/10000, version%10000, oldest/10000)
	}
	if cfg.UnsafeDurability {
		return nil
	}
	for _, name := range []string{"fsync", "full_page_writes"} {
		if err := mustBeOn(ctx, c, name); err != nil {
			return err
		}
	}
	return nil
}

func mustBeOn(ctx context.Context, c *pgx.Conn, name string) error {
	var value string
	if err := c.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value); err != nil {
		return fmt.Errorf("read the server's %s: %w", name, err)
	}
	if value != "on" {
		return fmt.Errorf("%w: %s is %s there, so a power cut damages the database; set it to on in postgresql.conf, "+
			"or start with --unsafe-durability for a throw-away store", ErrServer, name, value)
	}
	return nil
}

// explainRoles says what to run when a migration was not allowed to make the roles.
func explainRoles(err error) error {
	if codeOf(err) != "42501" {
		return err
	}
	return fmt.Errorf("%w, or its user may not use them or the schema: let a superuser run CREATE ROLE chatapi_tenant NOLOGIN; "+
		"CREATE ROLE chatapi_operator NOLOGIN; GRANT chatapi_tenant, chatapi_operator TO <the DSN's user>; "+
		"and, from Postgres 15 on, GRANT CREATE ON SCHEMA public TO <the DSN's user> (%w)", ErrRoles, err)
}
