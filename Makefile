# sealedge: `make demo` shows the product, `make test` tests it.
# Other targets: `make build`, `make verify` (what CI runs), `make bench`, `make fuzz`.

GO      ?= go
BUILD   := build
BIN     := $(BUILD)/bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)
FUZZTIME ?= 500x
STAY    ?=

.PHONY: all build demo test race verify lint fuzz bench conformance soak clean

all: build

build:
	@mkdir -p $(BIN)
	$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN)/ ./edge/sealedge ./tools/sealctl ./tools/sealserver ./tools/sealsim

# One seal through the whole story, on loopback, as an ordinary user.
demo: build
	$(BIN)/sealsim demo --bin $(BIN) $(if $(STAY),--stay)

# Every fuzz target for a moment, then every test.
test:
	.ci/fuzz $(FUZZTIME)
	$(GO) test ./...

# The packages with goroutines under the race detector.
race:
	$(GO) test -race -short ./cluster/... ./apn/... ./edge/... ./tools/sealsim/... ./tools/sealserver/...

lint:
	.ci/lint

# Each fuzz target for FUZZTIME, a time or a count of runs (FUZZTIME=1m).
fuzz:
	.ci/fuzz $(FUZZTIME)

# Medians of what this machine does, in under four minutes; see docs/performance.md.
bench: build
	$(GO) run ./tools/bench -bin $(BIN) -dir $(BUILD) $(BENCHFLAGS)

verify: lint race demo test

clean:
	rm -rf $(BUILD)
