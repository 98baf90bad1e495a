//! Scripts as the seeds write them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::cluster::{Cluster, run};

const CREDENTIALS: &str = "HOST=127.0.0.1\nUSER=postgres\nDB=postgres\nexport RSPASSWORD=secret-$1\n";

const SEED: &str = r#"#!/bin/bash
source $1/get_redshift_creds.sh $2
rsql -h $HOST -U $USER -d $DB << EOF
SET query_group to 'etl';
begin;
create table if not exists rsql_blog.blog_table (id int encode az64, name varchar(20) encode lzo) diststyle key distkey(id) sortkey(id);
\if :ERROR <> 0
  \echo :ERRORCODE
  \remark :LAST_ERROR_MESSAGE
  \exit 21
\endif
commit;
\exit 0
EOF
exit $?
"#;

#[test]
fn a_seed_script_runs_unchanged() {
    let cluster = Cluster::start();
    let script = cluster.path("seed.sh");
    fs::write(&script, SEED).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(cluster.path("get_redshift_creds.sh"), CREDENTIALS).unwrap();
    let binaries = std::path::Path::new(env!("CARGO_BIN_EXE_rsql")).parent().unwrap();
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
    let seed = || {
        let mut command = Command::new(&script);
        command.arg(cluster.directory.path()).arg("secret-id");
        run(cluster.prepare(&mut command).env("PATH", &path), "")
    };

    let failed = seed();
    assert_eq!(failed.status, 21, "{failed:?}");
    assert_eq!(failed.stdout, "SET\nBEGIN\n3F000\nschema \"rsql_blog\" does not exist\n");
    assert_eq!(
        failed.stderr,
        "rsql: ERROR:  schema \"rsql_blog\" does not exist\nSQLSTATE: 3F000\n\
         LINE 1: create table if not exists rsql_blog.blog_table (id int , na...\n\
         \x20                                  ^\n"
    );

    assert_eq!(cluster.rsql(&["-q", "-c", "create schema rsql_blog"], "").status, 0);
    let done = seed();
    assert_eq!(
        (done.status, done.stdout.as_str(), done.stderr.as_str()),
        (0, "SET\nBEGIN\nCREATE TABLE\nCOMMIT\n", "")
    );
    let again = seed();
    assert_eq!(again.status, 0);
    assert_eq!(again.stderr, "NOTICE:  relation \"blog_table\" already exists, skipping\n");
}

#[test]
fn control_flow_and_variables() {
    let cluster = Cluster::start();
    fs::write(
        cluster.path("part.sql"),
        "skipped\n\\echo in part :n\nselect broken;\n\\q\n\\echo not reached\n",
    )
    .unwrap();
    let script = r#"
create table t (a int);
insert into t select generate_series(1, 3);
\echo :ERROR :ERRORCODE :ACTIVITYCOUNT :ROW_COUNT
select a from t order by a;
\echo :ACTIVITYCOUNT :ROW_COUNT
\SET n 1 0
\if :ACTIVITYCOUNT > 2 AND NOT :ERROR
  \echo three rows
  \if :n = 11 \echo wrong \elseif :n = 10 \echo nested :'n' \else \echo wrong \endif
\else
  select pg_sleep(1000);
  \exit 99
\endif
select count(*) as cnt, 'x' as word from t \gset got_
\echo :got_cnt :got_word 12:07:31.55
\run file=part.sql skip=1
\echo :ERRORCODE `echo from the shell :n`
\unknown thing
\goto end
\echo jumped over
drop table t;
\label middle
\if :ERROR
\label END;
\echo landed
select sysdate > timestamp '2001-01-01' as now, nvl(null, 7) as seven, len('four') as four;
\remark one//two
\os echo "$((6 * 7))"
\endif
\timing off
\exit 300
"#;
    let ran = cluster.rsql(&[], script);
    insta::assert_snapshot!(format!("{}--- stderr\n{}--- status {}", ran.stdout, ran.stderr, ran.status));

    // A lost connection ends the script at once.
    let end = "select pg_terminate_backend(pg_backend_pid());\nselect 2;\n\\echo not reached\n";
    let lost = cluster.rsql(&[], end);
    assert_eq!(lost.status, 2, "{lost:?}");
    assert_eq!(lost.stdout, "");
    assert!(lost.stderr.ends_with("SQLSTATE: 57P01\nrsql: connection to server was lost\n"), "{lost:?}");
}
