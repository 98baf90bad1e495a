#!/bin/sh
# Runs a SQL file with rsql, connected to the warehouse of the job's secret.
#
#     run_sql.sh LIB_DIR SECRET_ID FILE VARIABLE[,VARIABLE...] [RSQL_OPTION...]
#
# The password reaches rsql as RSPASSWORD, the named variables through the environment: never as arguments.

_lib=$1
_secret=$2
_file=$3
RSQL_VARIABLES=$4
export RSQL_VARIABLES
shift 4
. "$_lib/get_redshift_creds.sh" "$_secret"
exec rsql -h "$HOST" -p "$PORT" -U "$USER" -d "$DB" "$@" -f "$_file"
