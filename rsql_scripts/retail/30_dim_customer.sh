#!/bin/bash
# Slowly changing dimension of type 1: customers are overwritten with what the source says now.
source $1/get_redshift_creds.sh $2

rsql -h $HOST -U $USER -d $DB << EOF
SET query_group TO 'retail-load';
begin;

update retail.dim_customer
   set name = s.c_name, address = s.c_address, nation_key = s.c_nationkey, market = s.c_mktsegment,
       loaded_at = sysdate
  from staging.customer s
 where s.c_custkey = customer_key
   and (name, address, nation_key, market) <> (s.c_name, s.c_address, s.c_nationkey, s.c_mktsegment);
\if :ERROR <> 0
    \echo :ERRORCODE
    \remark :LAST_ERROR_MESSAGE
    \exit 30
\endif
\remark 'customers changed:' :ACTIVITYCOUNT

insert into retail.dim_customer (customer_key, name, address, nation_key, market)
select s.c_custkey, s.c_name, s.c_address, s.c_nationkey, s.c_mktsegment
  from staging.customer s
  left join retail.dim_customer d on d.customer_key = s.c_custkey
 where d.customer_key is null;
\if :ERROR <> 0
    \echo :ERRORCODE
    \remark :LAST_ERROR_MESSAGE
    \exit 31
\endif
\remark 'customers added:' :ACTIVITYCOUNT

commit;
\exit 0
EOF
exit $?
