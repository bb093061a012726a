# cloudtrail-exporter: everything a contributor types. `make` alone prints what there is.
# `make run` and `make test` need Python 3.11 or newer and nothing else; they set themselves up.

PYTHON ?= python3
BIN    := .venv/bin
STAMP  := .venv/.stamp

.DEFAULT_GOAL := help
.PHONY: help run play-s3 play-sqs play-logs play-everything test check e2e image chart tools bench generate lock clean venv
MAKEFLAGS += --no-print-directory

help: ## print this
	@echo 'make TARGET, where TARGET is'
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1 \2/p' Makefile | while read -r target text; do printf '  %-15s %s\n' "$$target" "$$text"; done

# In the foreground of a terminal the exporter gets a process group of its own (set -m), so that Ctrl-C is its alone to
# answer: it finishes its batch and exits 0, and make, which would report an interrupt as an error, reports nothing.
FOREGROUND = $(BIN)/python -c 'import os; exit(os.tcgetpgrp(os.open("/dev/tty", os.O_RDWR)) != os.getpgrp())' 2>/dev/null

run: $(STAMP) ## publish samples/ to this terminal and serve http://127.0.0.1:10042/; Ctrl-C ends it
	@if $(FOREGROUND); then set -m; fi; $(BIN)/cloudtrail-exporter run --config examples/samples.yaml

PLAY = if $(FOREGROUND); then set -m; fi; $(BIN)/python tools/play.py

play-s3: $(STAMP) ## examples/s3.yaml against a local S3 with samples/ in it; Ctrl-C ends all of it
	@$(PLAY) s3

play-sqs: $(STAMP) ## examples/sqs.yaml against a local queue that loses two messages and doubles two
	@$(PLAY) sqs

play-logs: $(STAMP) ## examples/logs.yaml against local CloudWatch Logs
	@$(PLAY) logs

play-everything: $(STAMP) ## examples/everything.yaml: the same events by four ways, published once
	@$(PLAY) everything

test: $(STAMP) ## every test that needs nothing but Python; under 5 minutes
	@$(BIN)/python -m pytest -m 'not e2e and not chart' -n 2 --dist worksteal

check: $(STAMP) ## format, lint, types, generated files, lock files; under 1 minute, silent where all is well
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/python -m mypy --no-error-summary
	@$(BIN)/python -m exporter.generate --check
	@$(BIN)/python -m deploy.dashboards --check
	@$(BIN)/python -m deploy.rules --check
	@$(BIN)/python -m tools.chart --check
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/python tools/checks.py

e2e: $(STAMP) ## end to end with a real Collector and a real Prometheus; prints the counts it compared
	@$(BIN)/python -m pytest -m e2e tests/e2e

chart: $(STAMP) ## lint, render and validate the chart and the sidecar examples; prints a table of cases
	@$(BIN)/python -m tools.chart

image: $(STAMP) ## build the image with buildah and run the samples in it; prints what was checked (root)
	@tools/image.sh

tools: ## install the real servers and tools of e2e, chart and image into .tools/ (Go and apt; about ten minutes, once)
	@tools/install.sh

bench: $(STAMP) ## measure memory, start, throughput and scrapes on this machine; prints a table, decides nothing
	@$(BIN)/python -m bench.bench

generate: $(STAMP) ## write the generated files anew: reference pages, schemas, dashboards, rules, the chart's README
	@$(BIN)/python -m exporter.generate
	@$(BIN)/python -m deploy.dashboards
	@$(BIN)/python -m deploy.rules
	@$(BIN)/python -m tools.chart --generate

lock: $(STAMP) ## resolve pyproject.toml anew into the hash-locked files under requirements/
	@PATH="$(CURDIR)/$(BIN):$$PATH" requirements/lock.sh

venv: $(STAMP) ## set up .venv from the lock (the other targets do this by themselves)

clean: ## remove .venv, .tools, what `make run` kept and all caches
	rm -rf .venv .tools .run .hypothesis .mypy_cache .pytest_cache .ruff_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first of these that is new enough makes the environment: $(PYTHON), then what is commonly installed beside it. One
# that is there and works is kept, and brought to what the lock says now.
$(STAMP): requirements/dev.txt pyproject.toml
	@if ! $(BIN)/python -c 'import pip._internal.cli.main' 2>/dev/null; then \
	  for python in '$(PYTHON)' python3.14 python3.13 python3.12 python3.11; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$${found:-}" ]; then \
	    echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not ($$('$(PYTHON)' -V 2>&1)); name one: make PYTHON=..." >&2; \
	    exit 1; \
	  fi; \
	  echo "setting up .venv with $$("$$found" -V), once" >&2; \
	  rm -rf .venv; \
	  "$$found" -m venv .venv || { echo "$$found makes no virtual environment; on Debian: apt install python3-venv" >&2; exit 1; }; \
	fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
