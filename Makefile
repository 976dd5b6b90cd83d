# ChatAPI: everything a developer runs. `make` alone lists the targets.

GO      ?= go
LINT    := $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := -s -w -X main.release=$(VERSION)
UNITS    = $(shell $(GO) list ./... | grep -v /test/)
WHOLE    = $(shell $(GO) list ./test/...)

# What a client sees is the same on one node and on three: these run on both (and ./test/rest on Postgres and Redis by hand).
BOTH       := ./test/blackbox
ON_CLUSTER  = CHATAPI_TEST_TOPOLOGY=cluster CHATAPI_TEST_BINARY=$(CURDIR)/bin/chatapi

# Folders with tests in Node.js. They are named testdata so that Go looks for no packages in node_modules.
NODE_TESTS := test/browser/testdata test/imports/testdata

# The server is pure Go: one static binary. Only the race detector needs a C compiler, and sets this itself.
export CGO_ENABLED ?= 0

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

.PHONY: run
run: ## start a server with a demo tenant; data in ./data
	$(GO) run ./cmd/chatapi serve --dev

.PHONY: cluster
cluster: build ## Postgres, Redis, three nodes and a balancer on this machine; data in ./data/cluster
	@deployments/cluster.sh

.PHONY: build
build: ## build ./bin/chatapi
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/chatapi ./cmd/chatapi

.PHONY: test
test: tools build ## vet, then every test: units, contracts, and the real binary from outside
	$(GO) vet ./...
	$(GO) test -tags faults $(UNITS)
	CHATAPI_TEST_BINARY=$(CURDIR)/bin/chatapi $(GO) test -timeout 20m $(WHOLE)
	$(ON_CLUSTER) $(GO) test -timeout 20m $(BOTH)

.PHONY: lint
lint: ## golangci-lint, import walls included
	$(LINT) run

.PHONY: generate
generate: ## write cmd/chatapi/wire_gen.go
	$(GO) tool wire gen ./cmd/chatapi

.PHONY: check
check: ## fail when a file is not formatted or generated code is stale
	@unformatted="$$(gofmt -l $$(git ls-files '*.go'))"; \
	if [ -n "$$unformatted" ]; then echo "not formatted: $$unformatted"; exit 1; fi
	$(GO) mod verify
	$(GO) tool wire diff ./cmd/chatapi

.PHONY: ci
ci: tools check ci-race ci-whole lint ## what the continuous integration runs

# Units and contracts under the race detector. Of SQLite what was translated from C is left out: it would take ten times as
# long, and most of the time that there is. Its driver, which is Go, stays in.
RACE := -race -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc/...=-race=false

.PHONY: ci-race
ci-race:
	$(GO) vet ./...
	CGO_ENABLED=1 $(GO) test $(RACE) -tags faults -timeout 20m $(UNITS)

# The whole server from outside, as it is shipped, on one node and on a cluster; then once more built with the race detector,
# where most goroutines meet. Fault and load tests measure time and disk, which the detector would only distort.
.PHONY: ci-whole
ci-whole: build
	CHATAPI_TEST_BINARY=$(CURDIR)/bin/chatapi $(GO) test -timeout 20m $(WHOLE)
	$(ON_CLUSTER) $(GO) test -timeout 20m $(BOTH)
	CGO_ENABLED=1 $(GO) build $(RACE) -o bin/chatapi-race ./cmd/chatapi
	CHATAPI_TEST_BINARY=$(CURDIR)/bin/chatapi-race $(GO) test -count=1 -timeout 20m ./test/blackbox/...

.PHONY: faults-long
faults-long: build ## what breaks nodes, disks and networks, for as long as it does in production: an hour or more
	CHATAPI_TEST_LONG=1 CHATAPI_TEST_BINARY=$(CURDIR)/bin/chatapi $(GO) test -count=1 -p 1 -timeout 4h ./test/faults ./test/cluster

.PHONY: bench
bench: build ## micro-benchmarks of the store and the sockets, then the whole path against the real server
	$(GO) test -run '^$$' -bench . -benchmem ./adapters/sqlite ./adapters/ws
	CHATAPI_TEST_BINARY=$(CURDIR)/bin/chatapi $(GO) run ./test/load

# What the tests call besides Go: the samples run in Node.js and in Python with requests, the pages in Chromium, the fault
# tests under strace, the commands of the README with curl, clusters on Postgres and Redis behind nginx and Caddy, which
# read their configurations as systemd reads the unit; the race detector links with gcc. Whatever Debian starts of these by itself is left alone: tests start their own.
.PHONY: tools
tools: programs $(NODE_TESTS:%=%/node_modules/.installed) ## install what the tests call besides Go (Debian, npm)

.PHONY: programs
programs:
	@missing=""; \
	/usr/bin/python3 -c 'import requests' 2>/dev/null || missing="$$missing python3-requests"; \
	command -v strace >/dev/null || missing="$$missing strace"; \
	command -v node >/dev/null || missing="$$missing nodejs"; \
	command -v npm >/dev/null || missing="$$missing npm"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v gcc >/dev/null || missing="$$missing gcc libc6-dev"; \
	command -v curl >/dev/null || missing="$$missing curl"; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	command -v nginx >/dev/null || test -x /usr/sbin/nginx || missing="$$missing nginx-light"; \
	command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
	command -v caddy >/dev/null || missing="$$missing caddy"; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	if [ -n "$$missing" ]; then \
		sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		$$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	fi

# The packages of npm that tests use, as the lock files pin them; no script of theirs runs. Once per lock file.
%/node_modules/.installed: %/package-lock.json %/package.json | programs
	cd $* && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

# Swagger UI is part of this repository. To renew it: raise its version in test/browser/testdata, then this.
.PHONY: swagger-ui
swagger-ui: tools
	@from=test/browser/testdata/node_modules/swagger-ui-dist; to=web/docs/swagger-ui; \
	cp $$from/LICENSE $$to/LICENSE.txt && cp $$from/NOTICE $$to/NOTICE.txt && \
	cp $$from/swagger-ui-bundle.js.LICENSE.txt $$to/ && \
	gzip -9nc $$from/swagger-ui-bundle.js >$$to/swagger-ui-bundle.js.gz && gzip -9nc $$from/swagger-ui.css >$$to/swagger-ui.css.gz

.PHONY: clean
clean: ## remove what build and tools made; the data stays
	rm -rf bin $(NODE_TESTS:%=%/node_modules)
