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

if [ ! -e ca.key ] && [ ! -e ca.crt ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -sha256 -days 3650 \
        -subj "/CN=Redkeep deployment CA" -addext "basicConstraints=critical,CA:TRUE,pathlen:0" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout ca.key -out ca.crt 2>/dev/null
    echo "made secrets/ca.crt (give it to the clients) and secrets/ca.key (keep it elsewhere)"
fi

if [ ! -e tls.key ] && [ ! -e tls.crt ]; then
    names=""
    for name in "${@:-localhost}"; do
        case $name in
            *:* | *[0-9].[0-9]*) kind=IP ;;
            *) kind=DNS ;;
        esac
        names=${names:+$names,}$kind:$name
    done
    # The loopback addresses always, for a first try on this host.
    case $names in *localhost*) names=$names,IP:127.0.0.1,IP:::1 ;; esac
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -sha256 -subj "/CN=redkeep" \
        -keyout tls.key -out tls.csr 2>/dev/null
    openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -sha256 -days 397 -out tls.crt -extfile <(
        echo "subjectAltName=$names"
        echo "basicConstraints=critical,CA:FALSE"
        echo "keyUsage=critical,digitalSignature"
        echo "extendedKeyUsage=serverAuth"
        # Strict clients, Python 3.13 among them, insist on both.
        echo "subjectKeyIdentifier=hash"
        echo "authorityKeyIdentifier=keyid"
    ) 2>/dev/null
    rm -f tls.csr ca.srl
    echo "made secrets/tls.crt and secrets/tls.key for $names"
fi

if [ ! -e app-password ]; then
    openssl rand -hex 32 >app-password
    echo "made secrets/app-password"
fi

chmod 644 tls.crt tls.key app-password
