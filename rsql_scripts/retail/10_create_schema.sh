#!/bin/bash
# The schemas of the retail warehouse: staging for what the source sends, retail for what analysts read.
source $1/get_redshift_creds.sh $2

rsql -h $HOST -U $USER -d $DB << EOF
SET query_group TO 'retail-load';

create schema if not exists staging;
\if :ERROR <> 0
    \echo :ERRORCODE
    \remark :LAST_ERROR_MESSAGE
    \exit 10
\endif

create schema if not exists retail;
\if :ERROR <> 0
    \echo :ERRORCODE
    \remark :LAST_ERROR_MESSAGE
    \exit 11
\endif

\remark 'Schemas staging and retail are there.'
\exit 0
EOF
exit $?
