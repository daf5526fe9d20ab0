#!/usr/bin/env bash
# Checks the files that people deploy and set up with, without a Docker engine: Dockerfile, Compose, YAML, shell
# scripts, and that no secret is committed. Every check runs; the exit code is 1 if one failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit

passed=0 failed=0
check() {
    local what=$1 output
    shift
    if output=$("$@" 2>&1); then
        passed=$((passed + 1))
        echo "ok      $what"
    else
        failed=$((failed + 1))
        echo "FAILED  $what"
        printf '%s\n' "$output" | sed 's/^/        /'
    fi
}

for tool in hadolint yamllint shellcheck; do
    if [ ! -x ".venv/bin/$tool" ]; then
        echo "error: .venv/bin/$tool was not found: make setup" >&2
        exit 1
    fi
done
compose=$(tests/setup/compose.sh) || exit 1
if ! git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    echo "error: these checks look at what git tracks, and this is no git checkout" >&2
    exit 1
fi

# Tracked, or new and not ignored: what a commit could hold.
files() { git ls-files --cached --others --exclude-standard -- "$@" | while read -r f; do [ ! -e "$f" ] || echo "$f"; done; }

# === Docker ===

check "Dockerfile: hadolint" .venv/bin/hadolint --config .hadolint.yaml Dockerfile

compose_config() {
    # shellcheck disable=SC2086 # `docker compose` is two words
    $compose -f deploy/compose/compose.yaml --env-file "$1" config "${@:2}"
}
check "compose.yaml: compose config, with .env.example" compose_config deploy/compose/.env.example --quiet
check "compose.yaml: compose config, without .env" compose_config /dev/null --quiet

# The checker itself is checked: it must see a key that does not exist.
typo_is_refused() {
    local said
    # shellcheck disable=SC2086
    said=$(sed 's/read_only:/read_onyl:/' deploy/compose/compose.yaml | $compose -f - config --quiet 2>&1)
    case $said in *read_onyl*) ;; *) echo "a misspelt key was accepted: $said"; return 1 ;; esac
}
check "compose.yaml: a misspelt key would be refused" typo_is_refused

# Hardening that must not get lost in an edit.
hardened() {
    compose_config /dev/null --format json | .venv/bin/python -c '
import json, sys
model = json.load(sys.stdin)
gateway, redis = model["services"]["gateway"], model["services"]["redis"]
faults = []
if redis.get("ports"): faults.append("redis: publishes a port")
if list(redis["networks"]) != ["backend"]: faults.append("redis: is on another network than backend")
if model["networks"]["backend"].get("internal") is not True: faults.append("backend: is not internal")
if gateway["depends_on"]["redis"]["condition"] != "service_healthy": faults.append("gateway: does not wait for redis")
if [p["target"] for p in gateway["ports"]] != [6380]: faults.append("gateway: publishes other ports than 6380")
if gateway.get("user") != "65532:65532": faults.append("gateway: does not run as 65532")
for name, service in ("gateway", gateway), ("redis", redis):
    if service.get("read_only") is not True: faults.append(name + ": file system can be written")
    if service.get("cap_drop") != ["ALL"]: faults.append(name + ": keeps capabilities")
    if service.get("security_opt") != ["no-new-privileges:true"]: faults.append(name + ": may gain privileges")
    if service.get("environment"): faults.append(name + ": has environment variables, where secrets end up")
    if "healthcheck" not in service: faults.append(name + ": has no healthcheck")
print("\n".join(faults))
sys.exit(bool(faults))'
}
check "compose.yaml: only the gateway is reachable, both are confined" hardened

secret_files_can_be_made() {
    local copy names
    copy=$(mktemp -d)
    cp deploy/compose/make-secrets.sh "$copy"
    "$copy/make-secrets.sh" localhost redis.example.com redis-7.0.example.com 192.0.2.7 &&
        "$copy/make-secrets.sh" &&
        openssl verify -x509_strict -CAfile "$copy/secrets/ca.crt" -purpose sslserver \
            -verify_hostname redis.example.com "$copy/secrets/tls.crt" &&
        openssl verify -CAfile "$copy/secrets/ca.crt" -verify_hostname redis-7.0.example.com "$copy/secrets/tls.crt" &&
        openssl verify -CAfile "$copy/secrets/ca.crt" -verify_ip 192.0.2.7 "$copy/secrets/tls.crt" &&
        [ "$(wc -c <"$copy/secrets/app-password")" -eq 65 ]
    names=$?
    rm -rf "$copy"
    return "$names"
}
check "make-secrets.sh: makes a certificate chain that verifies, twice" secret_files_can_be_made

failed_secrets_leave_no_half() {
    local copy said
    copy=$(mktemp -d)
    cp deploy/compose/make-secrets.sh "$copy"
    said=$("$copy/make-secrets.sh" 192.0.2.700 2>&1 >/dev/null) && said="it did not fail"
    case $said in *"openssl x509 failed"*192.0.2.700*) ;; *) echo "not said: $said"; rm -rf "$copy"; return 1 ;; esac
    [ ! -e "$copy/secrets/tls.key" ] && [ ! -e "$copy/secrets/tls.crt" ] && "$copy/make-secrets.sh" 192.0.2.7 &&
        openssl verify -CAfile "$copy/secrets/ca.crt" -verify_ip 192.0.2.7 "$copy/secrets/tls.crt"
    said=$?
    rm -rf "$copy"
    return "$said"
}
check "make-secrets.sh: says why it failed, and leaves nothing half made" failed_secrets_leave_no_half

# === Text ===

# Configurations that are broken on purpose live under tests/.
# shellcheck disable=SC2046 # no file of ours has a space in its name
check "YAML: yamllint" .venv/bin/yamllint --strict \
    $(files '*.yaml' '*.yml' .yamllint .hadolint.yaml | grep -v '^tests/')

# shellcheck disable=SC2046
check "shell scripts: shellcheck" .venv/bin/shellcheck --external-sources $(files '*.sh' .ci/run)

scripts_are_executable() {
    local script bad=0
    for script in $(files '*.sh' .ci/run); do
        [ -x "$script" ] || { echo "$script is not executable"; bad=1; }
    done
    return "$bad"
}
check "shell scripts: executable" scripts_are_executable

# === Secrets ===

no_secret_files() {
    ! files | grep -E '(^|/)(\.env|id_(rsa|ecdsa|ed25519)|app-password)$|(^|/)secrets/|\.(key|pem|p12|pfx|jks)$'
}
check "no secret committed: file names" no_secret_files

no_private_keys() {
    # At the start of a line: a key, not a text that speaks of one.
    ! git grep --untracked -lE '^-----BEGIN ([A-Z]+ )*PRIVATE KEY-----'
}
check "no secret committed: private keys" no_private_keys

secrets_are_ignored() {
    local path
    for path in deploy/compose/.env deploy/compose/secrets/app-password deploy/compose/secrets/tls.key; do
        git check-ignore -q "$path" || { echo "$path would be committed"; return 1; }
    done
}
check "no secret committed: .env and secrets/ are ignored" secrets_are_ignored

echo "deploy: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
