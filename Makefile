# make quickstart   set up .venv, then train a small model to sort digits, and score it
# make test         the same set-up, then everything that must hold before a change goes in
# make lint         formatting, lint and types alone
# make seeds        the quickstart with three other seeds: scores, time and memory (five minutes)
# make algorithms   the examples of all four algorithms with three seeds: what each reaches (fifteen minutes)
# make properties   thousands of generated recipes: no false error, every seeded fault found, what checks runs
# make fuzz         inputs that nobody would write, to every reader: no traceback, no hang (ten minutes: MINUTES=10)
# make mutations    rules of the checker broken one at a time: does a test catch each (five minutes)
# make formatting   `harmonyc fmt` over every recipe here and 2,000 others, comments in all gaps (fifteen minutes)
# make bench        every algorithm against TRL, in environments of its own under .peers (half an hour)
# make parity       losses, gradients and trained weights against the papers and TRL (one minute)
# make resume-table a run that is killed, everywhere: does it end in the same bits (ten minutes)
# make agreement    micro-batches, processes and weights in parts give one result: how nearly (five minutes)
# make memory       what stages hold in memory: the plan against what is measured (twenty minutes)
# make judges       a judge that is slow, fails and hangs: what a training loses by it (ten minutes)
# make bench-check  how long `harmonyc check` and `plan` take, against an empty Python process
# make bench-data   what rows cost before training: tokenised twice, and a start over 1,000,000 (ten minutes)
# make reference    write docs/reference anew: names, fields and findings as the compiler has them
# make clean        remove .venv and every cache; saved models and runs stay
#
# PYTHON=python3.12   another interpreter for .venv (3.11 or later)
# TORCH_INDEX=URL     a package index for torch alone: its CPU-only builds spare Linux the CUDA packages

PYTHON ?= python3
TORCH_INDEX ?=
WORKERS ?= 2
MINUTES ?= 10

TORCH := torch==2.13.0
BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
READY := .venv/ready

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test bubblewrap lint seeds algorithms properties formatting fuzz mutations \
  bench parity resume-table agreement memory judges bench-check bench-data reference clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

setup: $(READY)

# The stamp is younger than both files until one of them changes. torch goes first and by its exact version:
# only there does TORCH_INDEX count, and what follows finds it installed.
$(READY): pyproject.toml constraints.txt
	@echo "setting up .venv (the first time: some minutes, mostly the download of torch)"
	@$(PYTHON) -m venv .venv
	@$(PIP) install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	@$(PIP) install -c constraints.txt -e '.[train,graders,dev]'
	@touch $@

quickstart: setup
	@$(BIN)/harmonyc run examples/quickstart.recipe

test: lint bubblewrap
	@echo "tests"
	@$(BIN)/python -m pytest -n $(WORKERS)

# A sandbox for code that a model wrote. Where it is missing, and this is no machine to put it on, its tests
# are skipped with a reason.
bubblewrap:
	@command -v bwrap >/dev/null || ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ] || \
	  { apt-get -qq update && apt-get -qq install -y bubblewrap; } >/dev/null 2>&1 || \
	  echo "bubblewrap cannot be installed: what needs it is not tested"

lint: setup
	@echo "ruff, mypy"
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check || { $(BIN)/ruff format --check; exit 1; }
	@$(BIN)/mypy --no-error-summary

seeds: setup
	@$(BIN)/python benchmarks/quickstart.py

algorithms: setup
	@$(BIN)/python benchmarks/algorithms.py

properties: setup
	@$(BIN)/python benchmarks/properties.py

formatting: setup
	@$(BIN)/python benchmarks/formatting.py

fuzz: setup
	@$(BIN)/python -m benchmarks.fuzz --minutes $(MINUTES)

mutations: setup
	@$(BIN)/python benchmarks/mutations.py

agreement: setup
	@$(BIN)/python benchmarks/agreement.py

# The libraries that ours is measured against. torch goes first, as above.
PEERS := .peers/trl-1.16.0/ready .peers/trl-1.12.0/ready

bench: setup $(PEERS)
	@$(BIN)/python -m benchmarks.bench

.peers/trl-%/ready: benchmarks/bench/peers.txt
	@echo "setting up $(@D)"
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip -qq --disable-pip-version-check install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	@$(@D)/bin/python -m pip -qq --disable-pip-version-check install -c $< trl==$*
	@touch $@

parity: setup
	@PYTHONPATH=tests $(BIN)/python -m parity

memory: setup
	@$(BIN)/python benchmarks/memory.py

judges: setup
	@$(BIN)/python benchmarks/judges.py

# One thread: what is forked has no others.
resume-table: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.resume

bench-check: setup
	@$(BIN)/python benchmarks/check.py

bench-data: setup
	@$(BIN)/python benchmarks/data.py

reference: setup
	@$(BIN)/python -m harmony_compiler.explain.markdown docs/reference

clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
