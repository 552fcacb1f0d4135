#!/usr/bin/env bash
# Makes the certificates beside this script anew: an authority, whose key is thrown away, and servers that it vouches for.
# They hold for a hundred years, and nobody else trusts them.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt; }
key >"$work/authority.key"
openssl req -x509 -new -key "$work/authority.key" -days 36500 -subj "/CN=qwen-edge tests" -out authority.pem \
  -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
server() { # server NAME WHO
  key >"$1.key"
  openssl req -new -key "$1.key" -subj "/CN=$1" -out "$work/$1.csr"
  printf 'subjectAltName=%s\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n' "$2" >"$work/$1.ext"
  openssl x509 -req -in "$work/$1.csr" -CA authority.pem -CAkey "$work/authority.key" -CAcreateserial \
    -CAserial "$work/serial" -days 36500 -extfile "$work/$1.ext" -out "$1.pem" 2>/dev/null
}
server here "IP:127.0.0.1,DNS:localhost"
server elsewhere "DNS:elsewhere.example"
