#!/usr/bin/env bash
# The cluster of compose.cluster.yaml as processes of this machine: Postgres, Redis, three nodes, and Caddy or nginx in front
# of them with the configuration that the containers get. `make cluster` builds the binary and runs it. Ctrl-C ends everything.
#
# What it keeps is in CLUSTER_DIR: the database, the secrets (made at the first start), one demo tenant and the logs. A later
# start goes on with them; to begin anew, delete the directory, and that of the database if the start has said that it lies
# elsewhere. What ends while the cluster runs comes back after a moment.
#
#   CHATAPI_BINARY   the server                             (./bin/chatapi)
#   CLUSTER_DIR      what is kept                           (./data/cluster)
#   CLUSTER_PORT     where the balancer listens             (8080, or a free one when that is taken)
#   CLUSTER_LB       caddy or nginx                         (what is installed, Caddy first)
#   CLUSTER_NODES    how many nodes                         (3)
#
# Linux, bash 4.4 or later. No process here is found by its name: each is ended by the id it was started with.
set -euo pipefail
umask 077

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binary=${CHATAPI_BINARY:-$here/../bin/chatapi}
dir=${CLUSTER_DIR:-$here/../data/cluster}
balancer=${CLUSTER_LB:-}
nodes=${CLUSTER_NODES:-3}
PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*"; }
die() { printf 'cluster: %s\n' "$*" >&2; exit 1; }

# --- what is needed ---------------------------------------------------------------------------------------------------------

# Debian keeps the programs of Postgres out of PATH; the newest wins.
find_postgres() {
	local found
	found=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
	if [ -x "$found" ]; then
		dirname "$found"
	elif command -v initdb >/dev/null; then
		dirname "$(command -v initdb)"
	fi
}

check_programs() {
	local missing=""
	pg=$(find_postgres)
	[ -n "$pg" ] || missing="$missing postgresql"
	command -v redis-server >/dev/null && command -v redis-cli >/dev/null || missing="$missing redis-server redis-tools"
	command -v curl >/dev/null || missing="$missing curl"
	command -v setpriv >/dev/null && command -v setsid >/dev/null && command -v flock >/dev/null || missing="$missing util-linux"
	if [ -z "$balancer" ]; then
		if command -v caddy >/dev/null; then balancer=caddy; else balancer=nginx; fi
	fi
	case $balancer in
	caddy | nginx) command -v "$balancer" >/dev/null || missing="$missing $balancer" ;;
	*) die "CLUSTER_LB is caddy or nginx, not \"$balancer\"" ;;
	esac
	[ -z "$missing" ] || die "missing; on Debian: apt-get install --no-install-recommends$missing"
	[ -x "$binary" ] || die "there is no $binary: make build"
	binary=$(realpath "$binary")
}

# --- the directory and its secrets ------------------------------------------------------------------------------------------

random_hex() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }

open_directory() {
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd -P)
	exec 9>"$dir/lock"
	flock -n 9 || die "a cluster runs on $dir already"
	if [ ! -s "$dir/secrets.env" ]; then
		{
			say "export MASTER_API_KEY=$(random_hex 32)"
			say "export JWT_SECRET=$(random_hex 32)"
			say "export SECRETS_KEY=$(random_hex 32)"
			say "POSTGRES_PASSWORD=$(random_hex 24)"
		} >"$dir/secrets.env.new"
		mv "$dir/secrets.env.new" "$dir/secrets.env"
	fi
	# shellcheck disable=SC1091
	. "$dir/secrets.env"
}

# --- ports ------------------------------------------------------------------------------------------------------------------

is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Below what the kernel gives to outgoing connections, so that a node which comes back finds its port free.
declare -A taken=()
free_port() {
	local port
	for _ in $(seq 200); do
		port=$((10000 + RANDOM % 22000))
		if [ -z "${taken[$port]:-}" ] && is_free "$port"; then
			taken[$port]=1
			REPLY=$port
			return
		fi
	done
	die "no free port"
}

balancer_port() {
	if [ -n "${CLUSTER_PORT:-}" ]; then
		REPLY=$CLUSTER_PORT
		is_free "$REPLY" || die "port $REPLY is taken"
	elif is_free 8080; then
		REPLY=8080
	else
		free_port
	fi
}

# --- processes --------------------------------------------------------------------------------------------------------------

# start NAME COMMAND… sets REPLY to the process id. In a session of its own a process does not see the terminal's Ctrl-C: the
# order of the end is this script's. Should this script itself be killed, the kernel ends the process by $on_orphan.
on_orphan=TERM
privileges=()
start() {
	local name=$1
	shift
	# One call changes the user and then arms the signal: a change of the user would disarm it.
	setsid setpriv --pdeathsig "$on_orphan" "${privileges[@]}" -- "$@" </dev/null >>"$dir/$name.log" 2>&1 9>&- &
	REPLY=$!
	disown "$REPLY" # one that is killed is told of by watch_over, and not by the shell
}

is_running() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

# end PID SIGNAL SECONDS waits for the end, and forces it when it takes longer. A process that was stopped goes on first.
end() {
	is_running "$1" || return 0
	kill -s "$2" "$1" 2>/dev/null || true
	kill -s CONT "$1" 2>/dev/null || true
	for _ in $(seq $(($3 * 10))); do
		is_running "$1" || return 0
		sleep 0.1
	done
	kill -s KILL "$1" 2>/dev/null || true
}

# until_true SECONDS NAME PID COMMAND… fails when the process ends or the time is over, and shows the end of its log.
until_true() {
	local seconds=$1 name=$2 pid=$3
	shift 3
	for _ in $(seq $((seconds * 10))); do
		if "$@" >/dev/null 2>&1; then return 0; fi
		is_running "$pid" || break
		sleep 0.1
	done
	tail -n 15 "$dir/$name.log" >&2 || true
	die "$name does not answer; its log is $dir/$name.log"
}

# --- Postgres and Redis -----------------------------------------------------------------------------------------------------

# Postgres refuses to run as root. Then it runs as the user that Debian has made for it, in a place that this user can reach.
postgres_privileges=()
choose_postgres_directory() {
	data=$dir/postgres
	[ "$(id -u)" = 0 ] || return 0
	getent passwd postgres >/dev/null || die "Postgres does not run as root, and there is no user postgres"
	postgres_privileges=(--reuid postgres --regid postgres --init-groups)
	chmod 0711 "$dir"
	if ! as_postgres test -x "$dir"; then
		data=$(getent passwd postgres | cut -d : -f 6)/chatapi-cluster-$(printf %s "$dir" | cksum | cut -d ' ' -f 1)
		say "Postgres cannot reach $dir: its data is in $data"
	fi
}

as_postgres() { setpriv "${postgres_privileges[@]}" --inh-caps=-all -- "$@"; }

# A first start that is cut short leaves a directory of another name, and no half database.
make_database() {
	local new=$data.new owner
	owner=$(as_postgres id -u)
	say "making the database …"
	rm -rf "$new" "$new.password"
	install -d -m 0700 -o "$owner" "$new"
	install -m 0600 -o "$owner" /dev/null "$new.password"
	say "$POSTGRES_PASSWORD" >"$new.password"
	(cd / && as_postgres "$pg/initdb" -D "$new" -U chatapi --pwfile="$new.password" --auth=scram-sha-256 --encoding=UTF8 --locale=C) \
		>"$dir/initdb.log" 2>&1 || { tail -n 15 "$dir/initdb.log" >&2; die "initdb has failed"; }
	rm -f "$new.password"
	mv "$new" "$data"
}

launch_postgres() {
	privileges=("${postgres_privileges[@]}")
	on_orphan=INT start postgres "$pg/postgres" -D "$data" -c "port=$postgres_port" \
		-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300
	postgres=$REPLY
	privileges=()
}

start_postgres() {
	choose_postgres_directory
	[ -e "$data" ] || make_database
	free_port
	postgres_port=$REPLY
	launch_postgres
	until_true 60 postgres "$postgres" "$pg/pg_isready" -h 127.0.0.1 -p "$postgres_port"
	if ! sql postgres "select 1 from pg_database where datname = 'chatapi'" | grep -q 1; then
		sql postgres "create database chatapi"
	fi
	export DATABASE_DSN="postgres://chatapi:$POSTGRES_PASSWORD@127.0.0.1:$postgres_port/chatapi?sslmode=disable"
}

sql() { PGPASSWORD=$POSTGRES_PASSWORD "$pg/psql" -qAt -h 127.0.0.1 -p "$postgres_port" -U chatapi -d "$1" -c "$2"; }

# Nothing durable is in Redis: it writes no file.
launch_redis() {
	start redis redis-server --bind 127.0.0.1 --port "$redis_port" --save "" --appendonly no --dir "$dir" \
		--maxmemory 256mb --maxmemory-policy noeviction
	redis=$REPLY
}

start_redis() {
	free_port
	redis_port=$REPLY
	launch_redis
	until_true 20 redis "$redis" redis-cli -p "$redis_port" ping
	export REDIS_URL="redis://127.0.0.1:$redis_port/0"
}

# What the operator's commands need to find the store.
write_environment() {
	local name
	for name in DATABASE_DSN REDIS_URL MASTER_API_KEY JWT_SECRET SECRETS_KEY; do say "export $name='${!name}'"; done >"$dir/node.env"
}

# --- nodes ------------------------------------------------------------------------------------------------------------------

node_pid=() node_port=() node_admin=()

# start_node N; its ports stay the same for as long as the cluster runs.
start_node() {
	mkdir -p "$dir/node$1"
	cd "$dir/node$1" # no .env of somebody else's
	LISTEN_ADDR=127.0.0.1:${node_port[$1]} ADMIN_ADDR=127.0.0.1:${node_admin[$1]} TRUSTED_PROXIES=127.0.0.1 LOG_FORMAT=json \
		start "node$1" "$binary" serve
	cd "$dir"
	node_pid[$1]=$REPLY
}

node_answers() { curl -fsS -o /dev/null --max-time 2 "http://127.0.0.1:${node_port[$1]}/health"; }

start_nodes() {
	local n
	for n in $(seq "$nodes"); do
		free_port
		node_port[n]=$REPLY
		free_port
		node_admin[n]=$REPLY
	done
	for n in $(seq "$nodes"); do start_node "$n"; done
	for n in $(seq "$nodes"); do until_true 60 "node$n" "${node_pid[$n]}" node_answers "$n"; done
}

# --- the balancer -----------------------------------------------------------------------------------------------------------

launch_balancer() {
	mkdir -p "$dir/$balancer"
	case $balancer in
	caddy)
		CHATAPI_SITE=:$port CHATAPI_BIND=127.0.0.1 CHATAPI_NODES=$node_list HOME=$dir/caddy XDG_DATA_HOME=$dir/caddy \
			XDG_CONFIG_HOME=$dir/caddy start caddy caddy run --config "$here/caddy/Caddyfile" --adapter caddyfile
		;;
	nginx)
		nginx_configuration >"$dir/nginx/nginx.conf"
		start nginx nginx -p "$dir/nginx" -c "$dir/nginx/nginx.conf" -g 'daemon off;'
		;;
	esac
	balancer_pid=$REPLY
}

start_balancer() {
	local n
	balancer_port
	port=$REPLY
	base=http://127.0.0.1:$port
	node_list=""
	for n in $(seq "$nodes"); do node_list="$node_list 127.0.0.1:${node_port[$n]}"; done
	launch_balancer
	until_true 20 "$balancer" "$balancer_pid" curl -fsS -o /dev/null --max-time 2 "$base/health"
}

# The file of the containers with the addresses of these nodes; what needs a directory of root's gets one of ours.
nginx_configuration() {
	local n text servers=""
	text=$(cat "$here/nginx/nginx.conf")
	for n in $node_list; do servers="$servers
        server $n max_fails=1 fail_timeout=5s;"; done
	text=$(sed -e '/^worker_rlimit_nofile/d' -e '/^ *server node[23]:8080 /d' -e 's/^ *server node1:8080 .*/@servers@/' \
		-e "s/listen 8080;/listen 127.0.0.1:$port;/" -e "s#^pid .*#pid $dir/nginx/nginx.pid;#" \
		-e "s#access_log /dev/stdout#access_log $dir/nginx/access.log#" <<<"$text")
	text=${text/@servers@/${servers#?}}
	for n in client_body proxy fastcgi uwsgi scgi; do
		text=${text/server_tokens off;/${n}_temp_path $dir/nginx/$n;
    server_tokens off;}
	done
	say "$text"
}

# --- the demo tenant, and what to try ---------------------------------------------------------------------------------------

# A key that still opens the store is kept; a store begun anew gets a new tenant.
demo_tenant() {
	local answer
	key=$(cat "$dir/demo-key" 2>/dev/null || true)
	if [ -n "$key" ] && curl -fsS -o /dev/null --max-time 10 "$base/rooms" -H "X-API-Key: $key" 2>/dev/null; then return; fi
	answer=$(curl -fsS --max-time 30 "$base/admin/tenants" -H "X-Master-Key: $MASTER_API_KEY" -H 'Content-Type: application/json' \
		-d '{"name":"demo"}') || die "no tenant could be made through $base"
	key=${answer#*\"api_key\":\"}
	key=${key%%\"*}
	say "$key" >"$dir/demo-key"
}

print_nodes() {
	local n
	for n in $(seq "$nodes"); do
		printf '  node%s     http://127.0.0.1:%-6s metrics http://127.0.0.1:%s/metrics   pid %s\n' \
			"$n" "${node_port[$n]}" "${node_admin[$n]}" "${node_pid[$n]}"
	done
}

print_what_to_try() {
	cat <<END

The cluster runs: $nodes nodes behind $balancer at $base
$(print_nodes)
  $(printf %-9s "$balancer") $base    pid $balancer_pid
  postgres  127.0.0.1:$postgres_port   pid $postgres
  redis     127.0.0.1:$redis_port   pid $redis
  logs, secrets and data in $dir

Try, in another terminal (every call may meet another node):

URL=$base
KEY=$key
ROOM=\$(curl -s "\$URL/rooms?if_exists=return" -H "X-API-Key: \$KEY" -H "X-User-Id: alice" \\
  -H "Content-Type: application/json" -d '{"type":"dm","members":["alice","bob"]}' \\
  | sed 's/.*"room_id":"\([^"]*\)".*/\1/')
curl -s \$URL/rooms/\$ROOM/messages -H "X-API-Key: \$KEY" -H "X-User-Id: alice" \\
  -H "Content-Type: application/json" -d '{"content":"Hello, Bob!"}'; echo
curl -s \$URL/rooms/\$ROOM/messages -H "X-API-Key: \$KEY" -H "X-User-Id: bob"; echo

Be bob on a socket and alice on another, on whichever node: $base/docs/socket in a browser, or

npx wscat -H "X-API-Key: \$KEY" -H "X-User-Id: bob" -c "${base/http/ws}/ws?device_id=phone"
  > {"type":"send_message","room_id":"…","content":"Hello, Alice!","client_id":"1","request_id":"1"}

The commands beside the nodes work too; a token, in place of the key, is what a browser would have:

(. $dir/node.env; $binary tenant list; $binary token --user bob)

Then break something, and look at what the clients see. What has ended comes back after a moment, with a new pid:

kill -9 ${node_pid[1]}            # a node dies: its clients come back elsewhere and miss nothing
kill -TERM ${node_pid[$nodes]}         # a node drains: it tells its clients when to come back
kill -STOP $redis; sleep 10; kill -CONT $redis   # Redis is away: messages go on, up to two seconds later
kill -QUIT $postgres        # the database falls: sends get 503 and Retry-After until it is back

Ctrl-C ends everything.
END
}

# --- the end ----------------------------------------------------------------------------------------------------------------

postgres="" redis="" balancer_pid=""

# The nodes drain side by side while the balancer still carries their goodbyes; then what they stood on ends.
stop_all() {
	local n
	trap '' INT TERM HUP
	say ""
	say "stopping …"
	for n in "${!node_pid[@]}"; do kill -s TERM "${node_pid[$n]}" 2>/dev/null || true; done
	for n in "${!node_pid[@]}"; do end "${node_pid[$n]}" CONT 15; done
	end "$balancer_pid" TERM 10
	end "$redis" TERM 10
	end "$postgres" INT 30
}

# What ends comes back at its old place, so that it can be broken again and again.
watch_over() {
	local n
	while true; do
		for n in $(seq "$nodes"); do
			is_running "${node_pid[$n]}" || { start_node "$n" && is_back "node$n"; }
		done
		is_running "$postgres" || { launch_postgres && is_back postgres; }
		is_running "$redis" || { launch_redis && is_back redis; }
		is_running "$balancer_pid" || { launch_balancer && is_back "$balancer"; }
		sleep 2 9>&- &
		wait $! || true
	done
}

is_back() { say "$(date +%T) $1 had ended; it is back with pid $REPLY"; }

check_programs
open_directory
trap stop_all EXIT
trap 'exit 0' INT TERM HUP
start_postgres
start_redis
write_environment
start_nodes
start_balancer
demo_tenant
print_what_to_try
watch_over
