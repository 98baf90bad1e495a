#!/bin/bash
# Fails the run when the warehouse does not hold what the files held.
source $1/get_redshift_creds.sh $2

rsql -h $HOST -U $USER -d $DB << EOF
SET query_group TO 'retail-load';

\echo 'Sales that the files have and the fact table lacks, or the other way about:'
select l.l_orderkey, l.l_linenumber
  from staging.lineitem l
  full join retail.fact_sales f on f.order_key = l.l_orderkey and f.line_number = l.l_linenumber
  left join staging.orders o on o.o_orderkey = f.order_key
 where f.order_key is null or (l.l_orderkey is null and o.o_orderkey is not null)
 limit 10;
\if :ERROR <> 0
    \remark :LAST_ERROR_MESSAGE
    \exit 90
\endif
\if :ACTIVITYCOUNT > 0
    \remark 'The fact table does not hold what the files held.'
    \exit 91
\endif

\echo 'Customers and parts of sales that their dimension lacks:'
select f.customer_key, f.part_key
  from retail.fact_sales f
  left join retail.dim_customer c on c.customer_key = f.customer_key
  left join retail.dim_part p on p.part_key = f.part_key and p.is_current
 where c.customer_key is null or p.part_key is null
 limit 10;
\if :ACTIVITYCOUNT > 0
    \remark 'Sales refer to customers or parts that are not in the dimensions.'
    \exit 92
\endif

\echo 'Parts without exactly one current price, or with prices that overlap:'
select part_key from retail.dim_part group by part_key
having sum(case when is_current then 1 else 0 end) <> 1
union
select a.part_key from retail.dim_part a
  join retail.dim_part b on b.part_key = a.part_key and b.valid_from > a.valid_from and b.valid_from < a.valid_to
 limit 10;
\if :ACTIVITYCOUNT > 0
    \remark 'The part dimension is not a history.'
    \exit 93
\endif

select count(*) as lines, sum(l_extendedprice * (1 - l_discount)) as revenue from staging.lineitem;
\remark 'The warehouse holds what the files held.'
\exit 0
EOF
exit $?
