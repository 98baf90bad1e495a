#!/bin/bash
# The tables. Staging tables are made anew by every load; the warehouse's own tables are kept.
source $1/get_redshift_creds.sh $2

rsql -h $HOST -U $USER -d $DB << EOF
SET query_group TO 'retail-load';
begin;

drop table if exists staging.customer, staging.part, staging.orders, staging.lineitem;

create table staging.customer (
    c_custkey     bigint        not null encode az64,
    c_name        varchar(25)   not null encode zstd,
    c_address     varchar(40)   not null encode zstd,
    c_nationkey   integer       not null encode az64,
    c_phone       char(15)      not null encode zstd,
    c_acctbal     decimal(12,2) not null encode az64,
    c_mktsegment  char(10)      not null encode bytedict,
    c_comment     varchar(117)  not null encode zstd
) backup no diststyle even;

create table staging.part (
    p_partkey     bigint        not null encode az64,
    p_name        varchar(55)   not null encode zstd,
    p_mfgr        char(25)      not null encode bytedict,
    p_brand       char(10)      not null encode bytedict,
    p_type        varchar(25)   not null encode bytedict,
    p_size        integer       not null encode az64,
    p_container   char(10)      not null encode bytedict,
    p_retailprice decimal(12,2) not null encode az64,
    p_comment     varchar(23)   not null encode zstd
) backup no diststyle even;

create table staging.orders (
    o_orderkey      bigint        not null encode az64,
    o_custkey       bigint        not null encode az64,
    o_orderstatus   char(1)       not null encode bytedict,
    o_totalprice    decimal(12,2) not null encode az64,
    o_orderdate     date          not null encode az64,
    o_orderpriority char(15)      not null encode bytedict,
    o_clerk         char(15)      not null encode zstd,
    o_shippriority  integer       not null encode az64,
    o_comment       varchar(79)   not null encode zstd
) backup no distkey(o_orderkey) sortkey(o_orderdate);

create table staging.lineitem (
    l_orderkey      bigint        not null encode az64,
    l_partkey       bigint        not null encode az64,
    l_suppkey       bigint        not null encode az64,
    l_linenumber    integer       not null encode az64,
    l_quantity      decimal(12,2) not null encode az64,
    l_extendedprice decimal(12,2) not null encode az64,
    l_discount      decimal(12,2) not null encode az64,
    l_tax           decimal(12,2) not null encode az64,
    l_returnflag    char(1)       not null encode bytedict,
    l_linestatus    char(1)       not null encode bytedict,
    l_shipdate      date          not null encode az64,
    l_commitdate    date          not null encode az64,
    l_receiptdate   date          not null encode az64,
    l_shipinstruct  char(25)      not null encode bytedict,
    l_shipmode      char(10)      not null encode bytedict,
    l_comment       varchar(44)   not null encode zstd
) backup no distkey(l_orderkey) sortkey(l_shipdate);

-- Type 1: a customer's row is what the source says now.
create table if not exists retail.dim_customer (
    customer_key  bigint        not null encode az64,
    name          varchar(25)   not null encode zstd,
    address       varchar(40)   not null encode zstd,
    nation_key    integer       not null encode az64,
    market        char(10)      not null encode bytedict,
    loaded_at     timestamp     not null default sysdate encode az64,
    primary key (customer_key)
) diststyle all sortkey(customer_key);

-- Type 2: a part has a row for every price it has had.
create table if not exists retail.dim_part (
    part_key      bigint        not null encode az64,
    name          varchar(55)   not null encode zstd,
    brand         char(10)      not null encode bytedict,
    retail_price  decimal(12,2) not null encode az64,
    valid_from    date          not null encode az64,
    valid_to      date          not null encode az64,
    is_current    boolean       not null encode raw,
    primary key (part_key, valid_from)
) diststyle all compound sortkey(part_key, valid_from);

create table if not exists retail.fact_sales (
    order_key     bigint        not null encode az64,
    line_number   integer       not null encode az64,
    customer_key  bigint        not null encode az64,
    part_key      bigint        not null encode az64,
    order_date    date          not null encode az64,
    ship_date     date          not null encode az64,
    quantity      decimal(12,2) not null encode az64,
    revenue       decimal(14,4) not null encode az64,
    primary key (order_key, line_number)
) distkey(order_key) sortkey(order_date);

commit;
-- The script goes on after an error, and the commit of a failed transaction is a rollback: so look at what is there.
select count(*) as tables from information_schema.tables
 where (table_schema, table_name) in (('staging', 'lineitem'), ('retail', 'fact_sales'));
\if :ERROR <> 0
    \remark :LAST_ERROR_MESSAGE
    \exit 12
\endif
select 1 from staging.lineitem, retail.fact_sales where false;
\if :ERROR <> 0
    \echo :ERRORCODE
    \remark :LAST_ERROR_MESSAGE
    \exit 13
\endif
\exit 0
EOF
exit $?
