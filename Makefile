# Serin. `make demo` shows it, `make test` tests it; both fetch what they need first (tests/setup/setup.sh).
SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: setup
setup: ## Fetch Envoy, Prometheus, libtorch, a model, binaryen and the Rust target into the cache (once)
	@tests/setup/setup.sh all

.PHONY: setup-cluster
setup-cluster: ## Build kube-apiserver, etcd and istiod for the tests of the cluster (once, 10 minutes; needs Go)
	@tests/setup/cluster.sh all

.PHONY: wasm
wasm: setup ## Build the filter
	@tests/setup/wasm.sh >/dev/null

.PHONY: build
build: setup wasm ## Build everything
	cargo build --workspace --bins

.PHONY: generate
generate: ## Write the manifests that are made of the code: the resource definition and the roles
	@mkdir -p manifests/base manifests/overlays/namespaced
	cargo run --quiet --bin serin -- crd >manifests/base/crd.yaml
	cargo run --quiet --bin serin -- rbac >manifests/base/rbac.yaml
	cargo run --quiet --bin serin -- rbac -n istio-system -n ml >manifests/overlays/namespaced/rbac.yaml

# Make hands KEEP on by itself. Without -p: the features of the whole workspace, as they were built.
.PHONY: demo
demo: build ## A good release and a bad one, live in this terminal (KEEP=1 leaves it running)
	@cargo run --quiet --bin serin-demo

.PHONY: demo-cluster
demo-cluster: build setup-cluster ## The same through an API server, istiod, a gateway and a sidecar (KEEP=1; needs Go once)
	@cargo run --quiet --bin serin-demo -- --cluster

.PHONY: test
test: setup wasm ## Run every test, unit to end-to-end (those of the cluster need setup-cluster's Go)
	@tests/setup/test.sh

.PHONY: test-envoys
test-envoys: wasm ## Run the filter's end-to-end tests on every Envoy that it supports (ENVOYS="1.36.4 1.40.0": some of them)
	@tests/setup/envoys.sh $(ENVOYS)

.PHONY: soak
soak: setup wasm ## Change the filter's configuration 500 times under load: no failure, no growth (SOAK_UPDATES=500)
	SOAK_UPDATES=$(or $(SOAK_UPDATES),500) cargo test --workspace --test it filter::soak -- --nocapture

.PHONY: soak-serving
soak-serving: setup ## Mixed load on the model server and 20 reloads for 30 minutes: no failure, no growth (SOAK_SECONDS=1800)
	SOAK_SECONDS=$(or $(SOAK_SECONDS),1800) cargo test --workspace --test it soak::mixed_load -- --nocapture

.PHONY: model
model: ## Explore the operator with more losses and kills at once than make test does (MODEL_DEVIATIONS=3)
	MODEL_DEVIATIONS=$(or $(MODEL_DEVIATIONS),2) cargo test --workspace --test model -- --nocapture keep

.PHONY: bench-filter
bench-filter: setup wasm ## CPU time of a request with the filter, beside other ways (QUICK=1: a rough look)
	@cargo run --quiet --bin serin-bench-filter

.PHONY: bench-updates
bench-updates: setup wasm ## Time until a new configuration is in use, and what requests wait meanwhile (QUICK=1: a rough look)
	@cargo run --quiet --bin serin-bench-updates

# What is measured is the controller as it is shipped. Without Go there is no Flagger, and the bench says so.
.PHONY: bench-controller
bench-controller: setup wasm setup-cluster ## What the operator costs with 10 000 rollouts, how fast it acts, Flagger beside (QUICK=1: a tenth)
	@tests/setup/cluster.sh flagger || [ $$? = 3 ]
	@cargo run --quiet --release --bin serin-bench-controller

.PHONY: bench-serving
bench-serving: setup ## Throughput and latency of the model server, beside a bare loop and other servers (QUICK=1: a rough look; 5 GB once)
	@tests/setup/setup.sh rivals
	@cargo run --quiet --release --bin serin-bench-serving

.PHONY: bench-decide
bench-decide: ## Time of a decision at one rollout and at 10 000, outside the proxy
	@cargo bench --quiet -p serin-filter-core --bench decide

.PHONY: bench-stats
bench-stats: ## Error rates of the decision engine beside those of other tools, and its speed (QUICK=1: a rough look)
	@cargo bench --quiet -p serin-controller --bench stats

.PHONY: fuzz
fuzz: ## Fuzz what strangers write (FUZZ_SECONDS=300 for each target; FUZZ_TARGETS: some of them)
	@tests/setup/fuzz.sh $(or $(FUZZ_SECONDS),300) $(FUZZ_TARGETS)

.PHONY: lint
lint: setup ## Check format, lints, licences and docs
	@tests/setup/setup.sh lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy -p serin-filter --target wasm32-wasip1 -- -D warnings
	.deps/cargo-deny check licenses bans sources
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --quiet

.PHONY: advisories
advisories: ## Check dependencies against the advisory database (needs the internet)
	@tests/setup/setup.sh lint
	.deps/cargo-deny check advisories

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all

.PHONY: clean
clean: ## Remove what was built here; the cache stays
	cargo clean
	rm -rf .deps
