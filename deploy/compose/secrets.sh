#!/bin/sh
# Makes the secrets that the compose files mount, unless they are there: passwords that
# nobody chose, and the Secret with the databases' URLs. The folder is for its owner
# alone; the files in it are readable because the containers' users are others.
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
