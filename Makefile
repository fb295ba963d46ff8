# sealedge: `make demo` shows the product, `make test` tests it.
# Other targets: `make build`, `make verify` (what CI runs, and more), `make conformance`, `make simulate`, `make bench`, `make fuzz`.

GO      ?= go
BUILD   := build
BIN     := $(BUILD)/bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)
FUZZTIME ?= 500x
STAY    ?=
SOAK    ?= 10m

.PHONY: all build chart k8s-e2e demo test race verify lint fuzz bench conformance simulate soak soak-cluster soak-faults reliability image linux-package clean

all: build

build:
	@mkdir -p $(BIN)
	$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN)/ ./edge/sealedge ./tools/sealctl ./tools/sealserver ./tools/sealsim

# One seal through the whole story, on loopback, as an ordinary user.
demo: build
	$(BIN)/sealsim demo --bin $(BIN) $(if $(STAY),--stay)

# Every test; of the fuzz targets their seeds and what was found before. `make fuzz`
# looks further. Some build the programs without cgo first, which takes minutes of a
# cold cache: only a test that hangs is ended.
test:
	$(GO) test -timeout 30m ./...

# The packages with goroutines under the race detector, but for the reference seal
# server, whose database takes minutes to build for it: RACE=./tools/sealserver/...
RACE ?= ./cluster/... ./apn/... ./edge/... ./tools/sealsim/...
race:
	$(GO) test -race -short $(RACE)

# What the specifications of GTP ask and the tests show. Runs the tests that say
# so, with everything installed that CI has (nothing may be skipped), and writes
# docs/conformance.md of what they leave. Where CI is set, the page is compared
# instead, and has to be the one that is committed.
conformance:
	dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	CI=true SEALEDGE_CONFORMANCE=$$dir $(GO) test -count=1 ./apn/... && \
	CI=true SEALEDGE_CONFORMANCE=$$dir $(GO) test -count=1 -short -run 'RealPeers|ForeignSGSN|Carrier|Passwords|Dissector' ./tools/e2e && \
	$(GO) run ./tools/conformance -results $$dir $(if $(CI),-check)

lint:
	.ci/lint

# Each fuzz target for FUZZTIME, a time or a count of runs (FUZZTIME=1m).
fuzz:
	.ci/fuzz $(FUZZTIME)

# Medians of what this machine does, in about ten minutes; see docs/performance.md. As root,
# and with Debian's osmo-ggsn, that is measured beside it.
bench: build
	$(GO) run ./tools/bench -bin $(BIN) -dir $(BUILD) $(BENCHFLAGS)

# Sessions that have to live while mutated messages come, for SOAK (SOAK=30s);
# SOAKFLAGS="-seed 42 -nodes 1" says more.
soak: build soak-cluster soak-faults
	$(GO) run ./tools/soak -bin $(BIN) -dir $(BUILD) -time $(SOAK) $(SOAKFLAGS)

# Simulated clusters under 10,000 schedules of faults, in about five minutes of two
# cores, and the mutants that they have to catch. `make simulate SCHEDULES=500`
# says how many, `make simulate SIM_TIME=1m` for how long. A failure names its seed.
SCHEDULES ?= 10000
simulate:
	SIM_SCHEDULES=$(SCHEDULES) $(GO) test -count=1 -timeout 0 -v -run '^TestSimulation(CatchesMutants)?$$' ./cluster
	SIM_SCHEDULES=$$(( ($(SCHEDULES) + 9) / 10 )) $(GO) test -count=1 -timeout 0 -v -run '^TestAddressLeases(CatchMutants)?$$' ./cluster

# The same for SOAK, with schedules that no run had before.
soak-cluster:
	SIM_FIRST=$$(date +%s)00000 SIM_TIME=$(SOAK) $(GO) test -count=1 -timeout 0 -v -run '^TestSimulation$$' ./cluster

# Three real nodes in network namespaces, at work, while networks, processes and
# disks fail, for SOAK; as root.
soak-faults:
	CI=true E2E_FAULTS=$(SOAK) $(GO) test -count=1 -timeout 0 -v -run 'Test(Network|Machine)Faults$$' ./tools/e2e

# The Helm chart, rendered for many values and judged; builds helm once, which takes
# some minutes.
chart:
	SEALEDGE_CHART=1 $(GO) test -count=1 -timeout 30m ./tools/chart

# The chart and the images on a Kubernetes that runs on this machine, as root; not in CI.
# The first time it is built, in half an hour: see docs/kubernetes-lab.md.
k8s-e2e:
	SEALEDGE_K8S=1 $(GO) test -count=1 -timeout 0 -v ./tools/e2e/k8s

verify: lint race demo conformance simulate fuzz test

# The drills, hundreds of times, for the figures of docs/reliability.md, in about a
# quarter of an hour of a machine with nothing else to do; see docs/drills.md.
# RELIABILITYFLAGS="-drills leader-kill=200" takes some of them, "-page" writes the page.
reliability: build
	$(GO) run ./tools/reliability -bin $(BIN) $(RELIABILITYFLAGS)

# Container images of the last commit and their SBOMs in build/image, without a
# container engine, made twice and compared: see docs/image.md. IMAGEFLAGS="-once" makes
# them once, "-worktree" takes what isn't committed too, "-registry NAME" names them.
image:
	$(GO) run ./tools/image -out $(BUILD)/image $(IMAGEFLAGS)

# Packages for Linux machines with systemd in build/linux: see docs/install-linux.md.
# LINUXFLAGS="-arch amd64 -version v0.2.0" says more.
linux-package:
	$(GO) run ./tools/linux -out $(BUILD)/linux $(LINUXFLAGS)

clean:
	rm -rf $(BUILD)
