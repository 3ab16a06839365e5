#!/bin/sh
# Run by the image of PostgreSQL as it makes its cluster.
set -eu
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d postgres -f /etc/daybook/roles.sql \
    -v owner_password="$POSTGRES_OWNER_PASSWORD" -v application_password="$POSTGRES_APPLICATION_PASSWORD"
