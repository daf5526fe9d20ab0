#!/usr/bin/env bash
# Proves the acceptance scripts against a real Redis that speaks TLS and has the user they expect: a script that
# fails here is wrong itself. Everything is on loopback and in a folder that is removed at the end.
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
server=""
finish() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$dir"
}
trap finish EXIT

cp ../../deploy/compose/make-secrets.sh "$dir"
"$dir/make-secrets.sh" localhost >/dev/null
secrets=$dir/secrets

{
    echo "user default on >$(openssl rand -hex 16) ~* &* +@all"
    echo "user app on >$(cat "$secrets/app-password") ~app:* resetchannels &app:* +@all -@dangerous"
} >"$dir/users.acl"

# A port that nobody uses: bound once to learn it, and tried again should somebody have been faster.
for _ in 1 2 3 4 5; do
    port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    redis-server --bind 127.0.0.1 --port 0 --tls-port "$port" --tls-auth-clients no --dir "$dir" --save "" \
        --tls-cert-file "$secrets/tls.crt" --tls-key-file "$secrets/tls.key" --tls-ca-cert-file "$secrets/ca.crt" \
        --aclfile "$dir/users.acl" --logfile "$dir/redis.log" &
    server=$!
    for _ in $(seq 50); do
        if redis-cli --tls --cacert "$secrets/ca.crt" -p "$port" PING 2>/dev/null | grep -q NOAUTH; then
            break 2
        fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=""
done
if [ -z "$server" ]; then
    echo "error: redis-server did not start with TLS:" >&2
    tail -n 5 "$dir/redis.log" >&2
    exit 1
fi

echo "redis-py against $(redis-server --version | cut -d ' ' -f 1-3), TLS"
"$python" redis_py.py --port "$port" --ca "$secrets/ca.crt" --user app --password-file "$secrets/app-password" \
    --prefix app:
