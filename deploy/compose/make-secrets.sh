#!/usr/bin/env bash
# Makes what this deployment needs under secrets/: a certificate authority, the gateway's certificate and the
# password of the user `app`. What exists is kept, so running it again only adds what is missing.
#
#   ./make-secrets.sh [NAME ...]     names and addresses by which clients call the gateway (default: localhost)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if ! command -v openssl >/dev/null 2>&1; then
    echo "error: openssl was not found: sudo apt-get install -y openssl" >&2
    exit 1
fi

# The folder is closed to everyone else on this host; the files that are mounted are open, because the gateway's user
# in its container, who sees the files and not the folder, must read them.
umask 077
mkdir -p secrets
chmod 700 secrets
cd secrets
# What is begun is written here, and gets its name when it is whole.
new=$(mktemp -d .new.XXXXXX)
trap 'rm -rf "$new"' EXIT

# Has openssl make something; what it says is shown only if it fails.
make_with_openssl() {
    openssl "$@" 2>"$new/said" || {
        echo "error: openssl $1 failed:" >&2
        cat "$new/said" >&2
        exit 1
    }
}

# A key and its certificate under their names, the certificate last.
keep_pair() {
    mv "$new/$1.key" "$1.key"
    mv "$new/$1.crt" "$1.crt"
}

if [ ! -e ca.key ] && [ ! -e ca.crt ]; then
    make_with_openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -sha256 -days 3650 \
        -subj "/CN=Redkeep deployment CA" -addext "basicConstraints=critical,CA:TRUE,pathlen:0" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout "$new/ca.key" -out "$new/ca.crt"
    keep_pair ca
    echo "made secrets/ca.crt (give it to the clients) and secrets/ca.key (keep it elsewhere)"
fi

if [ ! -e tls.key ] && [ ! -e tls.crt ]; then
    names=""
    for name in "${@:-localhost}"; do
        case $name in
            *:*) kind=IP ;;
            *[!0-9.]*) kind=DNS ;;
            *) kind=IP ;;
        esac
        names=${names:+$names,}$kind:$name
    done
    # The loopback addresses always, for a first try on this host.
    case $names in *localhost*) names=$names,IP:127.0.0.1,IP:::1 ;; esac
    make_with_openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -sha256 -subj "/CN=redkeep" \
        -keyout "$new/tls.key" -out "$new/tls.csr"
    {
        echo "subjectAltName=$names"
        echo "basicConstraints=critical,CA:FALSE"
        echo "keyUsage=critical,digitalSignature"
        echo "extendedKeyUsage=serverAuth"
        # Strict clients, Python 3.13 among them, insist on both.
        echo "subjectKeyIdentifier=hash"
        echo "authorityKeyIdentifier=keyid"
    } >"$new/extensions"
    make_with_openssl x509 -req -in "$new/tls.csr" -CA ca.crt -CAkey ca.key -CAserial "$new/serial" -CAcreateserial \
        -sha256 -days 397 -out "$new/tls.crt" -extfile "$new/extensions"
    keep_pair tls
    echo "made secrets/tls.crt and secrets/tls.key for $names"
fi

if [ ! -e app-password ]; then
    make_with_openssl rand -hex 32 >"$new/app-password"
    mv "$new/app-password" app-password
    echo "made secrets/app-password"
fi

chmod 644 tls.crt tls.key app-password
