#!/bin/sh
# An empty volume gets a cluster with the superuser's password, and what stands in
# /docker-entrypoint-initdb.d is run on it while only the socket answers; what may not be
# executed, as in a ConfigMap, is read in place.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # Word by word: these are options.
  initdb --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" ${POSTGRES_INITDB_ARGS:-}
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
  pg_ctl --wait --options="-c listen_addresses=" start
  for script in /docker-entrypoint-initdb.d/*.sh; do
    if [ -x "$script" ]; then "$script"; else . "$script"; fi
  done
  pg_ctl --wait --mode=fast stop
fi
exec "$@" -c listen_addresses='*'
