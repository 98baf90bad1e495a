//! COPY from S3, carried out with local files.

use std::fs;
use std::io::Write as _;

use crate::cluster::Cluster;

#[test]
fn copy_from_s3() {
    let cluster = Cluster::start();
    let s3 = cluster.path("s3");
    let put = |key: &str, data: &[u8]| {
        let path = s3.join("bucket").join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    };
    put("tpch/part.tbl.1", b"1|nut|0.50|\n2|bolt||\n");
    put("tpch/part.tbl.2", b"3||9.99|\n");
    put("tpch/other.tbl", b"not|for|this|load|\n");
    put("bad/extra.csv", b"id,name\n1,a\n2,b,c\n");
    put("bad/type.csv", b"1,a\nx,b\n");
    let mut gz = flate2_bytes(b"10\tten\n");
    gz.extend(flate2_bytes(b"11\televen\n"));
    put("zip/a.gz", &gz);
    let rows: String = (0..200_000).map(|n| format!("{n},name {n}\n")).collect();
    put("big/rows.csv", rows.as_bytes());

    let script = r#"
create table part (id int, name varchar(10), price numeric(10,2));
copy part from 's3://bucket/tpch/part.tbl' iam_role default delimiter '|' region 'eu-west-1' compupdate off;
\echo :ERROR :ACTIVITYCOUNT :ROW_COUNT
select * from part order by id;
create table n (seq bigint identity(1,1), id int, name text);
copy n from 's3://bucket/zip/' delimiter '\t' gzip;
copy n (name, id) from 's3://bucket/missing/' csv;
\echo :ERROR :ERRORCODE
begin;
copy n from 's3://bucket/bad/extra' csv ignoreheader 1;
\echo :ERRORCODE
select 1;
rollback;
begin;
copy n from 's3://bucket/nothing' csv;
select 1;
copy n from 's3://bucket/big' csv;
rollback;
copy n from 's3://bucket/bad/type' csv;
copy nope from 's3://bucket/bad/type' csv;
copy n (nope) from 's3://bucket/bad/type' csv;
copy n from 's3://bucket/../secret' csv;
begin;
unload ('select 1') to 's3://b/x' iam_role default;
select 1;
rollback;
select * from n order by 1;
copy n from 's3://bucket/big/' csv;
select count(*), max(seq) from n;
"#;
    let root = s3.to_str().unwrap();
    let ran = cluster.rsql_with(&[("RSQL_S3_ROOT", root)], &[], script);
    let shown = format!("{}--- stderr\n{}--- status {}", ran.stdout, ran.stderr, ran.status);
    let directory = cluster.directory.path().to_str().unwrap();
    insta::assert_snapshot!(shown.replace(directory, "[dir]"));

    let unset = cluster.rsql(&[], "copy part from 's3://bucket/tpch/' delimiter '|';\n\\exit :ERROR");
    assert_eq!(unset.status, 1);
    assert!(
        unset.stderr.contains("RSQL_S3_ROOT is not set\nSQLSTATE: 58030\nHINT:  Set RSQL_S3_ROOT"),
        "{unset:?}"
    );
}

fn flate2_bytes(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}
