# tiergate: `make run` starts it, `make test` proves it. `make help` lists the rest.
GO        ?= go
LINT      := $(GO) tool -modfile=tools/go.mod golangci-lint
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS   := -s -w -X main.version=$(VERSION)
# What runs again under the race detector: the rooms where goroutines meet.
RACY      := ./snapshot/... ./evaluator/... ./policy/... ./sync/... ./server/... ./admin/... ./quota/... ./client/... ./provider/... ./internal/pmap/... ./internal/listen/...
# What runs without the race detector only: tests of allocations, for it makes sync.Pool forget, and
# those of one goroutine that go through very many states, which it makes ten times as long.
ALONE     := (?i)alloc|mutants|explore_|power_

.PHONY: help run build test check fmt generate bench chaos fuzz profile clean
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## build what is missing and start everything on loopback, with demo data
	@exec bin/tiergate dev

build: need-go ## build bin/tiergate
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/tiergate ./cmd/tiergate

test: need-go need-node need-postgres ## everything that must pass
	$(GO) test -timeout 15m ./...
	$(GO) test -timeout 15m -race -short -skip '$(ALONE)' $(RACY)

check: need-go ## format, lint, vet, import map, module files, generated files fresh
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(LINT) run ./...
	$(GO) test -count=1 ./internal/archtest
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(GO) run -C tools/proto . $(CURDIR)/internal/wire "$$fresh" && \
	  diff -r -x '*.proto' -x doc.go internal/wire "$$fresh" || { echo 'internal/wire is not what its .proto files make: make generate' >&2; exit 1; }

fmt: need-go ## format everything
	$(LINT) fmt ./...

generate: need-go ## make the Go code of internal/wire anew
	$(GO) run -C tools/proto . $(CURDIR)/internal/wire $(CURDIR)/internal/wire

bench: need-go need-postgres ## measure, side by side with the floors
	$(GO) run -C bench .

chaos: need-go need-postgres ## kill, stop and cut sixteen sidecars and their Postgres for CHAOSTIME (default 45m), and count
	TIERGATE_CHAOS=$(or $(CHAOSTIME),45m) $(GO) test ./cmd/tiergate -run '^TestChaos$$' -count=1 -v -timeout 24h

fuzz: need-go ## each fuzz target for FUZZTIME (default 60s)
	@./tools/fuzz.sh $(or $(FUZZTIME),60s)

profile: need-go ## measure anew what the compiler optimizes for (cmd/tiergate/default.pgo)
	$(GO) test -trimpath ./server/ofrep -run '^$$' -bench 'Door/(static|tiergated|fractional)|Request/(single|bulk)' -benchtime 3s \
	  -cpuprofile "$(CURDIR)/cmd/tiergate/default.pgo" -o "$$(mktemp)"

clean: ## remove what was built and the dev database
	rm -rf bin data

.PHONY: need-go need-node need-postgres
need-go:
	@command -v $(GO) >/dev/null || { echo 'tiergate needs Go 1.26 or later: https://go.dev/dl' >&2; exit 1; }
need-node:
	@command -v node >/dev/null && command -v npm >/dev/null || { echo 'the tests need Node 20 with npm (Debian: apt install nodejs npm; macOS: brew install node)' >&2; exit 1; }
need-postgres:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || ls /opt/homebrew/opt/postgresql*/bin/initdb >/dev/null 2>&1 || \
	  { echo 'tiergate needs PostgreSQL 15 or later (Debian: apt install postgresql; macOS: brew install postgresql)' >&2; exit 1; }
