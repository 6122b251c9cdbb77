#!/bin/sh
# Run once, on an empty volume: the shop's role, and a database for each service that
# keeps data. The role owns them and may do nothing else.
set -eu
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres \
  --set password="$(cat /run/secrets/shop-password)" <<'SQL'
create role shop login password :'password';
create database products owner shop;
create database reviews owner shop;
revoke connect on database products, reviews, postgres from public;
SQL
