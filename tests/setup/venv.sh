#!/usr/bin/env bash
# Makes .venv with the pinned Python packages of the tests: clients and checkers. Done once, and again only when
# the requirements or the interpreter changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

requirements=tests/clients/requirements.txt
stamp=.venv/requirements.installed

if cmp -s "$requirements" "$stamp" && .venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    echo "error: python3 cannot make virtual environments: sudo apt-get install -y python3 python3-venv" >&2
    exit 1
fi

echo "making .venv from $requirements"
rm -rf .venv
python3 -m venv .venv
# Wheels only: an installation never runs a package's own build script.
.venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check --only-binary :all: \
    --no-deps -r "$requirements"
.venv/bin/python -m pip check --disable-pip-version-check
cp "$requirements" "$stamp"
