#!/usr/bin/env bash
# Prints the command that is Docker Compose here, version 2 or later; no Docker engine is needed to check a file.
#
# Used is what is there: `docker compose`, then `docker-compose`. Otherwise Debian's signed package is downloaded and
# unpacked into .tools, with package lists of its own: neither root nor a change to the system is needed. Debian 12
# has only version 1, so there it is Debian 13's package, a static binary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

tool=.tools/compose/usr/libexec/docker/cli-plugins/docker-compose

usable() { "$@" version --short 2>/dev/null | grep -Eq '^v?([2-9]|[1-9][0-9])\.'; }

for candidate in "docker compose" docker-compose "$PWD/$tool"; do
    # shellcheck disable=SC2086 # the first candidate is two words
    if usable $candidate; then
        echo "$candidate"
        exit 0
    fi
done

fail() {
    printf 'error: %s\n' "$@" >&2
    exit 1
}

how="Docker Compose 2 was not found; install it: https://docs.docker.com/compose/install/"
command -v apt-get >/dev/null 2>&1 || fail "$how"
# shellcheck source=/dev/null
. /etc/os-release
case ${ID:-} in
    debian) ;;
    ubuntu) fail "Docker Compose 2 was not found: sudo apt-get install -y docker-compose-v2" ;;
    *) fail "$how" ;;
esac
suite=${VERSION_CODENAME:-trixie}
case $suite in bullseye | bookworm) suite=trixie ;; esac

# The same archive that this machine installs its packages from.
archive=$(apt-get indextargets --format "\$(RELEASE) \$(REPO_URI)" 'Created-By: Packages' |
    awk -v release="${VERSION_CODENAME:-}" '$1 == release { print $2; exit }')
[ -n "$archive" ] || fail "no Debian archive is configured for apt-get on this machine." "$how"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || fail "$keyring was not found: sudo apt-get install -y debian-archive-keyring"

echo "downloading Docker Compose (Debian $suite) into .tools" >&2
work=$PWD/.tools/apt
rm -rf "$work" .tools/compose
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" .tools/compose
echo "deb [signed-by=$keyring] $archive $suite main" >"$work/sources.list"
options=(
    -q -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State=$work/state" -o "Dir::Cache=$work/cache" -o Dir::State::status=/var/lib/dpkg/status
    -o APT::Sandbox::User= -o APT::Update::Error-Mode=any
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
)
(
    cd "$work"
    apt-get "${options[@]}" update
    apt-get "${options[@]}" download docker-compose
) >&2
dpkg-deb --extract "$work"/docker-compose_*.deb .tools/compose
rm -rf "$work"

usable "$PWD/$tool" || fail "the Docker Compose of Debian $suite does not run here." "$how"
echo "$PWD/$tool"
