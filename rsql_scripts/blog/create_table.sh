#!/bin/bash
source $1/get_redshift_creds.sh $2

rsql -h $HOST -U $USER -d $DB << EOF
SET query_group to 'blog';
begin;
create table if not exists rsql_blog.blog_table (
    id         integer      not null encode az64,
    job        varchar(40)  not null encode lzo,
    run        varchar(80)  not null encode zstd,
    created_at timestamp    default sysdate encode az64
) diststyle key distkey(id) sortkey(id, created_at);
\if :ERROR <> 0
    \echo 'Error Code -'
    \echo :ERRORCODE
    \remark :LAST_ERROR_MESSAGE
    \exit 21
\endif
commit;
\exit 0
EOF
exit $?
