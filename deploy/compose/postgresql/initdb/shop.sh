#!/bin/sh
# Runs once, on an empty volume: creates the shop's role, and a database for each service
# that stores data. The role owns these databases and has no other rights.
set -eu
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres \
  --set password="$(cat /run/secrets/shop-password)" <<'SQL'
create role shop login password :'password';
create database products owner shop;
create database reviews owner shop;
revoke connect on database products, reviews, postgres from public;
SQL
