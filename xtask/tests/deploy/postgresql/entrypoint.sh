#!/bin/sh
# On an empty volume, creates a cluster with the superuser's password and runs the scripts
# in /docker-entrypoint-initdb.d while the server listens only on its socket. A script
# that is not executable, as in a ConfigMap, is sourced.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # Not quoted: split into options.
  initdb --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" ${POSTGRES_INITDB_ARGS:-}
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
  pg_ctl --wait --options="-c listen_addresses=" start
  for script in /docker-entrypoint-initdb.d/*.sh; do
    if [ -x "$script" ]; then "$script"; else . "$script"; fi
  done
  pg_ctl --wait --mode=fast stop
fi
exec "$@" -c listen_addresses='*'
