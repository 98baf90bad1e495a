#!/bin/bash
source $1/get_redshift_creds.sh $2

rsql -h $HOST -U $USER -d $DB << EOF
SET query_group to 'blog';
\echo '\n-----MAIN EXECUTION LOG STARTING HERE-----'
begin;
create schema if not exists rsql_blog;
\if :ERROR <> 0
    \echo 'Error Code -'
    \echo :ERRORCODE
    \remark :LAST_ERROR_MESSAGE
    \exit 21
\endif
commit;
\remark 'Schema rsql_blog is there.'
\exit 0
EOF
exit $?
