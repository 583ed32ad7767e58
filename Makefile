# Everything a developer does here by name. `make` alone says what there is; CI runs `make check` and nothing else.

CARGO ?= cargo
DOCKER ?= docker
COMPOSE := $(DOCKER) compose -f docker/compose.yml
IMAGE ?= switchboard

.DEFAULT_GOAL := help

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: ## Install what a fresh machine lacks (RabbitMQ, mosquitto, Redis, valgrind)
	@scripts/setup

.PHONY: build
build: setup ## Build the release binary, target/release/switchboard
	$(CARGO) build --release --locked

.PHONY: demo
demo: build ## Private brokers, a fleet, two workers, a stream of jobs, and what came of them
	target/release/switchboard demo

.PHONY: demo-celery
demo-celery: build ## A Celery application that commands devices, on private brokers, step by step
	scripts/demo-celery target/release/switchboard

.PHONY: demo-scale
demo-scale: build ## One backlog for one worker, for two, for four: how much faster it is done
	target/release/switchboard demo --scale 1,2,4

.PHONY: test
test: setup ## Run every test, on brokers of its own
	$(CARGO) test --locked --all-targets
	$(CARGO) test --locked --doc

# SEED=… repeats what a run chose: jobs, devices, victims, moments.
SEED ?=
SECONDS ?= 600
# Two scenes at a time: most of the time each waits for what it broke.
FAULTS = SEED=$(SEED) SECONDS=$(SECONDS) $(CARGO) test --locked --test faults -- --ignored --test-threads=2 --nocapture

.PHONY: faults
faults: setup ## Run the long scenes: brokers and workers that die, freeze and fall silent (a quarter of an hour)
	$(FAULTS) --skip soak::
	$(CARGO) test --locked --test it -- --ignored worker_rolling::

.PHONY: soak
soak: setup ## Break things at random under load for SECONDS, then check that no promise was broken
	$(FAULTS) soak::

.PHONY: lint
lint: ## Formatting and clippy, no warning allowed
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

.PHONY: doc
# With private items, since it is read by those who work on them: a link from a public page to a private one resolves here.
doc: ## Build the documentation, no warning allowed
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --locked --no-deps --document-private-items

.PHONY: check
check: lint doc test instructions ## All that CI runs: lint, doc, test, instructions

.PHONY: bench
# ONLY=router measures just what has that in its name.
ONLY ?=
bench: ## Time the pure parts: router, decoders, profiles, settlement
	$(CARGO) bench --locked --bench parts -- $(ONLY)
	@echo "bench: the figures of this run, and their change since the last one, are above; as JSON: target/criterion/GROUP/NAME/new/estimates.json"

.PHONY: instructions
# Counted is the release binary that `make demo` runs; what counts is built as the tests are, so that nothing is built twice.
instructions: build ## Count a worker's instructions per command with callgrind; fails above the bound
	$(CARGO) test --locked --bench instructions -- --bench target/release/switchboard

.PHONY: image
image: ## Build the container image
	$(DOCKER) build -f docker/Dockerfile -t $(IMAGE) .

.PHONY: up
up: ## Start brokers, two workers, Prometheus and Grafana in Docker
	$(COMPOSE) up -d --build --wait

.PHONY: down
down: ## Stop what `make up` started
	$(COMPOSE) down
