#!/bin/bash
source $1/get_redshift_creds.sh $2

rsql -h $HOST -U $USER -d $DB << EOF
SET query_group to 'blog';
begin;
insert into rsql_blog.blog_table (id, job, run) values (2, '$JOB_NAME', '$WORKFLOW_EXECUTION_ID');
\if :ERROR <> 0
    \echo 'Error Code -'
    \echo :ERRORCODE
    \remark :LAST_ERROR_MESSAGE
    \exit 21
\endif
\remark 'rows inserted:' :ACTIVITYCOUNT
commit;
\exit 0
EOF
exit $?
