#!/bin/sh
# Every check of the project, the quick ones first; run inside the project's environment.
set -e
ruff check .
ruff format --check --quiet .
mypy
lint-imports --no-cache
python -m pytest "$@"
