#!/usr/bin/env bash
# Makes sure that the programs are there which Redkeep needs to be built and run (`run`), tested (`test`), or compared
# with what people use instead (`bench`).
#
# Rust is never installed from here, only asked for. What else is missing comes from apt-get where there is one,
# with sudo when not root; elsewhere this says what is missing and how to get it, and fails. Nothing is installed
# or updated when nothing is missing.
set -euo pipefail

case ${1:-} in
    run | test | bench) purpose=$1 ;;
    *)
        echo "usage: $0 run|test|bench" >&2
        exit 2
        ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

has() { command -v "$1" >/dev/null 2>&1; }

fail() {
    printf 'error: %s\n' "$@" >&2
    exit 1
}

# === Rust ===

has cargo || fail "cargo was not found; install Rust:" \
    "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"

wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
found=$(cargo --version | cut -d ' ' -f 2)
oldest=$(printf '%s\n%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)
[ "$oldest" = "$wanted" ] || fail "Rust $found is too old, $wanted is needed: rustup update stable"

if [ "$purpose" = test ]; then
    cargo fmt --version >/dev/null 2>&1 || fail "rustfmt was not found: rustup component add rustfmt"
    cargo clippy --version >/dev/null 2>&1 || fail "clippy was not found: rustup component add clippy"
fi

# === System packages ===

# Three names of each missing thing: apt's, dnf's and Homebrew's.
apt=() dnf=() brew=()
need() {
    apt+=("$1")
    dnf+=("$2")
    brew+=("$3")
}

# A working compiler has its C library's headers too; both the linker and the TLS library's C code need it.
if ! echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1; then
    need "gcc libc6-dev" gcc gcc
fi
has redis-server || need redis-server redis redis
has redis-cli || need redis-tools redis redis
if [ "$purpose" = test ]; then
    has redis-benchmark || need redis-tools redis redis
    has openssl || need openssl openssl openssl
    has git || need git git git
    # Debian splits what `python3 -m venv` needs into a package of its own.
    python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || need "python3 python3-venv" python3 python3
    # A module that the tests load into a Redis is linked with it; gcc brings it, other compilers do not.
    if [ "$(uname -sm)" = "Linux x86_64" ] &&
        ! PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null | grep -q 'libgomp\.so\.1 '; then
        need libgomp1 libgomp gcc
    fi
fi
if [ "$purpose" = bench ]; then
    # Administrators' programs are not on everybody's PATH.
    PATH=$PATH:/usr/sbin:/sbin has haproxy || need haproxy haproxy haproxy
    has stunnel4 || has stunnel || need stunnel4 stunnel stunnel
    python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || need "python3 python3-venv" python3 python3
fi

[ "${#apt[@]}" -gt 0 ] || exit 0

list() { printf '%s\n' "$@" | tr ' ' '\n' | sort -u | tr '\n' ' ' | sed 's/ $//'; }

if ! has apt-get; then
    fail "missing: $(list "${apt[@]}"), and there is no apt-get here; install them, then run this again:" \
        "  Fedora:  sudo dnf install $(list "${dnf[@]}")" \
        "  macOS:   brew install $(list "${brew[@]}")"
fi

packages=$(list "${apt[@]}")
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    has sudo || fail "missing: $packages; as root, run: apt-get update && apt-get install -y --no-install-recommends $packages"
    as_root=sudo
fi

# Debian starts and enables services on installation: an open Redis that nobody asked for, a HAProxy. Where systemd
# runs, masks that would not outlive a reboot keep the services from starting, and are taken off again at the end;
# without systemd, RUNLEVEL=1 says that this is no time to start services. What was installed before is left as it is.
# (stunnel has no service until somebody writes a configuration for one.)
services=()
for service in redis-server haproxy; do
    case " $packages " in *" $service "*) services+=("$service") ;; esac
done

each() {
    local service
    for service in "${services[@]}"; do "$@" "$service"; done
}
mask() { $as_root systemctl --quiet --runtime mask "$1.service"; }
unmask() { $as_root systemctl --quiet --runtime unmask "$1.service" || true; }
if [ -d /run/systemd/system ]; then
    trap 'each unmask' EXIT
    each mask
fi

echo "installing: $packages"
$as_root apt-get update -q
# shellcheck disable=SC2086 # the list is meant to be split
$as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -q -y --no-install-recommends $packages </dev/null

disable() {
    if [ -d /run/systemd/system ]; then
        $as_root systemctl --quiet disable "$1.service"
    elif has update-rc.d; then
        $as_root update-rc.d "$1" disable
    fi
}
if [ -d /run/systemd/system ]; then
    each unmask
    trap - EXIT
fi
each disable
