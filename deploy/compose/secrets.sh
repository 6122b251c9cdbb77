#!/bin/sh
# Creates the missing secrets that the compose files mount: random passwords, and the
# Secret with the databases' URLs. Only the owner can enter the folder; its files are
# readable because the containers run as other users.
set -eu
umask 022
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets
for name in postgres shop grafana; do
  file="secrets/$name-password"
  [ -s "$file" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "$file"
done
url="postgres://shop:$(cat secrets/shop-password)@postgresql:5432"
cat > secrets/databases.yaml <<SECRET
apiVersion: v1
kind: Secret
metadata:
  name: shop-databases
  namespace: shoppingportal
stringData:
  PRODUCT_DATABASE_URL: $url/products
  REVIEW_DATABASE_URL: $url/reviews
SECRET
