#!/bin/sh
# Prints the Secret `galleria-ca` of components/ca: an intermediate of the certificate
# authority in ../compose/secrets/ca, which is made the first time. The root's key stays in
# that folder, outside of the cluster. Run `./ca.sh | kubectl apply -f -` once, again within a
# year, and after each step of `galleria ca rotate`; hosts need no restart. GALLERIA is the
# program, `galleria` by default.
set -eu
cd "$(dirname "$0")"
galleria=${GALLERIA:-galleria}
secrets=../compose/secrets
mkdir -p "$secrets"
chmod 700 "$secrets"
[ -e "$secrets/ca" ] || "$galleria" ca init "$secrets/ca" > /dev/null
"$galleria" ca intermediate "$secrets/ca" --out "$secrets/ca-cluster" > /dev/null
kubectl create secret generic galleria-ca --namespace shoppingportal --dry-run=client \
  --output yaml --from-file="$secrets/ca-cluster"
