#!/usr/bin/env bash
# Makes .venv with the pinned Python packages of the tests: clients and checkers. Done once, and again only when
# the requirements or the interpreter changed. `bench` adds what `make bench` measures Redkeep against.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

case ${1:-} in
    "" | bench) purpose=${1:-} ;;
    *)
        echo "usage: $0 [bench]" >&2
        exit 2
        ;;
esac

requirements=tests/clients/requirements.txt
stamp=.venv/requirements.installed

# Wheels only: an installation never runs a package's own build script.
install() {
    .venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check --only-binary :all: \
        --no-deps -r "$1" &&
        .venv/bin/python -m pip check --disable-pip-version-check &&
        cp "$1" "$2"
}

if ! cmp -s "$requirements" "$stamp" || ! .venv/bin/python -c '' 2>/dev/null; then
    if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
        echo "error: python3 cannot make virtual environments: sudo apt-get install -y python3 python3-venv" >&2
        exit 1
    fi
    echo "making .venv from $requirements"
    rm -rf .venv
    python3 -m venv .venv
    install "$requirements" "$stamp"
fi

more=benches/compare/requirements.txt
if [ "$purpose" = bench ] && ! cmp -s "$more" .venv/bench.installed; then
    # Without it there is one target less, and the tables say so.
    echo "installing into .venv what $more names"
    install "$more" .venv/bench.installed || echo "warning: $more could not be installed" >&2
fi
