#!/bin/bash
# Loads one staging table from the files the source left in S3. The table's name is the job's argument,
# data_prefix a parameter of the workflow.
source $1/get_redshift_creds.sh $2
table=$3

rsql -h $HOST -U $USER -d $DB << EOF
SET query_group TO 'retail-load';
begin;
delete from staging.$table;

copy staging.$table from '$data_prefix/$table.tbl'
    iam_role default delimiter '|' dateformat 'auto' compupdate off statupdate off;
\if :ERROR <> 0
    \echo :ERRORCODE
    \remark :LAST_ERROR_MESSAGE
    \exit 20
\endif

commit;
\remark 'staging.$table has been loaded.'
\exit 0
EOF
exit $?
