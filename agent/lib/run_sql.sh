#!/bin/sh
# Runs a SQL file with rsql, connected to the warehouse of the job's secret.
#
#     run_sql.sh LIB_DIR SECRET_ID FILE [RSQL_OPTION...]
#
# The password reaches rsql as RSPASSWORD, never as an argument.

_lib=$1
_secret=$2
_file=$3
shift 3
. "$_lib/get_redshift_creds.sh" "$_secret"
exec rsql -h "$HOST" -p "$PORT" -U "$USER" -d "$DB" "$@" -v "ATTEMPT=$ATTEMPT" -f "$_file"
