#!/bin/sh
# Prints the Secrets with the passwords of ../compose/secrets.sh, which creates missing
# ones. Run `./secrets.sh | kubectl create -f -` once.
set -eu
cd "$(dirname "$0")"
../compose/secrets.sh
from=../compose/secrets
secret() {
  echo ---
  kubectl create secret generic --namespace shoppingportal --dry-run=client --output yaml "$@"
}
secret galleria-databases --from-file="$from/databases.yaml"
secret postgresql --from-file="$from/postgres-password" --from-file="$from/shop-password"
