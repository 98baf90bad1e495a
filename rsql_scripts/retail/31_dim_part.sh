#!/bin/bash
# Slowly changing dimension of type 2: a part whose price changed gets a new row, and its old row an end.
# price_change_percent (a parameter, 0 unless told) raises the price of every tenth part, to see it work.
source $1/get_redshift_creds.sh $2

rsql -h $HOST -U $USER -d $DB << EOF
SET query_group TO 'retail-load';
begin;

create temp table changed_part as
select s.p_partkey, s.p_name, s.p_brand,
       cast(s.p_retailprice * case when s.p_partkey % 10 = 0 then 1 + $price_change_percent / 100.0 else 1 end
            as decimal(12,2)) as price
  from staging.part s;

-- A load of a day that was loaded before replaces what that day brought.
delete from retail.dim_part where valid_from = cast('$load_date' as date);
update retail.dim_part
   set valid_to = cast('9999-12-31' as date), is_current = true
 where valid_to = cast('$load_date' as date);
\if :ERROR <> 0
    \echo :ERRORCODE
    \remark :LAST_ERROR_MESSAGE
    \exit 32
\endif

update retail.dim_part
   set valid_to = cast('$load_date' as date), is_current = false
  from changed_part c
 where c.p_partkey = part_key and is_current and c.price <> retail_price;
\if :ERROR <> 0
    \echo :ERRORCODE
    \remark :LAST_ERROR_MESSAGE
    \exit 33
\endif
\remark 'prices changed:' :ACTIVITYCOUNT

insert into retail.dim_part (part_key, name, brand, retail_price, valid_from, valid_to, is_current)
select c.p_partkey, c.p_name, c.p_brand, c.price, cast('$load_date' as date), cast('9999-12-31' as date), true
  from changed_part c
  left join retail.dim_part d on d.part_key = c.p_partkey and d.is_current
 where d.part_key is null;
\if :ERROR <> 0
    \echo :ERRORCODE
    \remark :LAST_ERROR_MESSAGE
    \exit 34
\endif
\remark 'rows added:' :ACTIVITYCOUNT

commit;
\exit 0
EOF
exit $?
