#!/bin/sh
# Takes a backup, restores it into a database that may be emptied, and proves it there: schema, every journal by replay, the audit.
#
#   DATABASE_URL=postgresql://tradingdesk_owner:…@db/tradingdesk \
#   REHEARSAL_URL=postgresql://rehearsal:…@elsewhere/rehearsal deploy/rehearse_restore.sh FILE
#
# FILE is where the backup is written; one that is there is rehearsed as it is. Exit code 0: it can be traded on after `manage.py restored`.
set -eu
cd "$(dirname "$0")/.."
: "${REHEARSAL_URL:?names the database that is emptied and filled from the backup}"
file=${1:?names the file of the backup}
python=.venv/bin/python

name_of() { psql -XAtq "$1" -c "SELECT current_database() || ' of ' || system_identifier FROM pg_control_system()"; }

if [ ! -e "$file" ]; then
    : "${DATABASE_URL:?names the database to back up}"
    pg_dump --format=custom --no-owner --no-privileges --file="$file.new" "$DATABASE_URL"
    mv "$file.new" "$file"
    echo "Backed up: $file, $(wc -c <"$file") bytes."
fi
if [ -n "${DATABASE_URL:-}" ] && [ "$(name_of "$DATABASE_URL")" = "$(name_of "$REHEARSAL_URL")" ]; then
    echo "REHEARSAL_URL names the database itself: nothing was restored." >&2
    exit 1
fi
psql -Xq -v ON_ERROR_STOP=1 "$REHEARSAL_URL" -c 'SET client_min_messages = warning; DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public'
pg_restore --no-owner --no-privileges --exit-on-error --single-transaction --dbname="$REHEARSAL_URL" "$file"
echo "Restored."
DATABASE_URL=$REHEARSAL_URL $python manage.py migrate --check
DATABASE_URL=$REHEARSAL_URL $python manage.py restored --only-verify
echo "The backup is good."
