#!/bin/sh
# What only a GPU can show: speed, bits, memory and every stage on it, as one table. Exit code 1 where a target is missed.
#   tests/gpu/check.sh                         the environment of `make setup`, else python3; meant to take 8 minutes
#   PYTHON=python3.12 tests/gpu/check.sh       any environment that has what the package needs
#   tests/gpu/check.sh --device cpu            a dry run of the same steps without a GPU
cd "$(dirname "$0")/../.." || exit 2
if [ -z "$PYTHON" ]; then
  PYTHON=python3
  [ -x .venv/bin/python ] && PYTHON=.venv/bin/python
fi
exec "$PYTHON" -m tests.gpu.check "$@"
