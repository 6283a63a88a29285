# The developer's manual: `make help`.
PYTHON   ?= python3
PIP_ARGS ?=
ARGS     ?=
bin      := .venv/bin
run      := $(bin)/python -m pipeline
.DEFAULT_GOAL := help
.PHONY: setup data sanity overfit lr_range train search ensemble evaluate diagnose report serve docs names test test-all faults field bench gpu-check lint format lock clean help

help:  ## this list
	@echo 'make TARGET [ARGS="data=digits init=xavier"]   every target that runs stages takes any override in ARGS'
	@sed -nE 's/^([a-z_-]+):.*## (.*)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-12s %s\n", $$1, $$2}'
	@echo 'Every option, key and command: $(run) --help'
	@echo 'Exit codes of the program: 0 passed, 1 crash, 2 wrong configuration or data, 3 a stage failed its checks.'
	@echo '(make itself turns every failure into 2 and prints the program'"'"'s code: "Error 3".)'

setup: $(bin)/.complete  ## make .venv with the exact pinned packages (PIP_ARGS="--index-url ..." for another build of torch)

# With PIP_ARGS the versions stay pinned, but not the hashes: another build of torch has others.
$(bin)/.complete: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed, this is " + sys.version.split()[0] + ". Choose another: make setup PYTHON=python3.12" if sys.version_info < (3, 10) else 0)'
	@test -x $(bin)/python || $(PYTHON) -m venv .venv
	@echo 'Setting up .venv (once; some minutes, several GB) ...'
ifeq ($(strip $(PIP_ARGS)),)
	@$(bin)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
else
	@grep -vE '^ +--hash|^ *#' requirements.lock | sed 's/ *\\$$//' > .venv/constraints.txt
	@$(bin)/pip install --quiet --disable-pip-version-check -c .venv/constraints.txt $(PIP_ARGS) '.[dev]'
	@$(bin)/pip uninstall --quiet --yes staged-training-pipeline
endif
	@$(bin)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

data: setup  ## look at the data alone: their checks, and pictures of images that are blank, repeated or odd
	@$(run) stage=data $(ARGS)

sanity: setup  ## is the loss what chance gives, does every parameter learn?
	@$(run) 'stage=[sanity]' $(ARGS)

overfit: setup  ## sanity, then train on a few examples until every one is right
	@$(run) 'stage=[sanity,overfit]' $(ARGS)

lr_range: setup  ## sanity, then a learning-rate range test that proposes a rate
	@$(run) 'stage=[sanity,lr_range]' $(ARGS)

train: setup  ## the whole workflow: sanity, overfit, train, and the best checkpoint once on the test split
	@$(run) $(ARGS)

search: setup  ## rate and L2 at random in log space, coarse to fine; or your own ranges (docs/search.md)
	@$(run) -m 'search=[coarse,fine]' $(ARGS)

# not outputs/latest: that may be a sanity check, or the last evaluation
CHECKPOINT ?= $(shell ls -t outputs/*/*/checkpoints/best.ckpt 2>/dev/null | head -n 1)
evaluate: setup  ## a trained network on its test split, or on other data (ARGS="data.path=OTHER"; CHECKPOINT=path; default: the newest best.ckpt)
	@$(run) evaluate '$(CHECKPOINT)' $(ARGS)

ensemble: setup  ## the workflow, then more networks with other seeds that answer together (ARGS="stages.ensemble.members=5")
	@$(run) 'stage=[sanity,overfit,train,ensemble]' $(ARGS)

RUN ?= outputs/latest
diagnose: setup  ## judge a finished run again (RUN=outputs/...; ARGS="checks=strict")
	@$(run) diagnose '$(RUN)' $(ARGS)

report: setup  ## outputs/index.html: all runs on one page, any two compared (ARGS="latest" makes that run's report.html anew)
	@$(run) report $(ARGS)

serve: setup  ## the same in a browser on this machine, nobody else can connect (ARGS="--port 8000")
	@$(run) serve $(ARGS)

docs: setup  ## generate docs/checks.md, docs/signals.md and docs/options.md from the code and conf/
	@$(bin)/python -m pipeline.cli.check_docs docs/checks.md
	@$(bin)/python -m pipeline.cli.signal_docs docs/signals.md
	@$(bin)/python -m pipeline.cli.options_docs docs/options.md

names: setup  ## list retired names and banned words that are left in the code
	@$(bin)/python -m tests.names

# loadfile: fixtures that a file shares are built once. A thread for each worker: there are as many workers as cores
test: setup  ## the fast tests and the whole path once (at most 5 minutes on 2 cores; ARGS="tests/checks -n 0")
	@OMP_NUM_THREADS=1 $(bin)/pytest -n auto --dist loadfile --no-loadscope-reorder -m 'not slow and not nightly' $(ARGS)

test-all: setup  ## every test, kills and launchers included
	@$(bin)/pytest $(ARGS)

faults: setup  ## the benchmark of faulty and healthy runs, against its targets (ARGS="--only NAME --seeds 2 --jobs 2")
	@$(bin)/python -m tests.faults $(ARGS)

field: setup  ## own data and own networks as people have them, each with what is expected (ARGS="--only 7 15 --slow")
	@$(bin)/python -m tests.field $(ARGS)

bench: setup  ## speed beside a bare loop, the usual template and others, on a GPU too; what looking costs (ARGS="--minutes 30 --only mlp")
	@$(bin)/python -m tests.bench $(ARGS)

gpu-check: setup  ## what only a GPU can show, against its targets; meant to take 8 minutes (ARGS="--device cpu" is a dry run)
	@PYTHON=$(bin)/python tests/gpu/check.sh $(ARGS)

lint: setup  ## ruff and mypy
	@$(bin)/ruff check .
	@$(bin)/ruff format --check .
	@$(bin)/mypy

format: setup  ## let ruff format the code
	@$(bin)/ruff check --fix .
	@$(bin)/ruff format .

lock:  ## resolve requirements.lock anew, for every supported Python and platform (needs uv)
	@uv pip compile pyproject.toml --extra dev --universal --python-version 3.10 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --quiet -o requirements.lock

clean:  ## remove caches (not .venv, not outputs)
	@rm -rf .pytest_cache .mypy_cache .ruff_cache dist
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
