#!/bin/bash
# The fact table: the orders of the files are replaced as a whole, so that a load can be repeated.
source $1/get_redshift_creds.sh $2

rsql -h $HOST -U $USER -d $DB << EOF
SET query_group TO 'retail-load';
begin;

delete from retail.fact_sales using staging.orders o where o.o_orderkey = fact_sales.order_key;
\if :ERROR <> 0
    \echo :ERRORCODE
    \remark :LAST_ERROR_MESSAGE
    \exit 40
\endif

insert into retail.fact_sales
    (order_key, line_number, customer_key, part_key, order_date, ship_date, quantity, revenue)
select l.l_orderkey, l.l_linenumber, o.o_custkey, l.l_partkey, o.o_orderdate, l.l_shipdate, l.l_quantity,
       l.l_extendedprice * (1 - l.l_discount)
  from staging.lineitem l
  join staging.orders o on o.o_orderkey = l.l_orderkey;
\if :ERROR <> 0
    \echo :ERRORCODE
    \remark :LAST_ERROR_MESSAGE
    \exit 41
\endif
\remark 'sales loaded:' :ACTIVITYCOUNT

commit;
\exit 0
EOF
exit $?
