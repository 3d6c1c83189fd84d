#!/bin/sh
# Makes the certificates and the key of the servers that the tests of this module start on
# loopback. The key is no secret: nothing else trusts the CA, whose own key is thrown away.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cd "$work"
mkdir new
: >index
cat >conf <<'END'
[ca]
default_ca = own
[own]
database = index
new_certs_dir = new
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1,DNS:localhost
END
for name in ca server; do
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $name.key
    openssl req -new -config /dev/null -key $name.key -subj "/CN=skim test $name" -out $name.csr
done
sign() {
    openssl ca -batch -notext -config conf -startdate 20200101000000Z -enddate 21200101000000Z "$@"
}
sign -selfsign -keyfile ca.key -extensions authority -in ca.csr -out ca.crt
sign -keyfile ca.key -cert ca.crt -extensions server -in server.csr -out server.crt
cp ca.crt server.crt server.key "$here"
