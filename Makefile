PYTHON ?= python3
PIP_ARGS ?=
ARGS ?=
.DEFAULT_GOAL := help
bin := .venv/bin

$(bin)/.complete: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed; this is " + sys.version.split()[0] + " (choose another: make setup PYTHON=python3.12)" if sys.version_info < (3, 10) else 0)'
	@test -x $(bin)/python || $(PYTHON) -m venv .venv
ifeq ($(strip $(PIP_ARGS)),)
	@$(bin)/pip install --quiet --require-hashes -r requirements.lock
else
	@grep -vE '^ +--hash|^ *#' requirements.lock | sed 's/ *\\$$//' > .venv/constraints.txt
	@$(bin)/pip install --quiet -c .venv/constraints.txt $(PIP_ARGS) '.[dev]'
endif
	@$(bin)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

setup: $(bin)/.complete
