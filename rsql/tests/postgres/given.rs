//! Values that came with a job, in every place where psql would let them become a command or a file.

use std::fs;

use crate::cluster::{Cluster, run};

#[test]
fn a_value_is_data_in_backquotes_and_in_names_of_files() {
    let cluster = Cluster::start();
    let canary = cluster.path("canary");
    let outside = tempfile::tempdir().unwrap();
    let evil = outside.path().join("evil.sql");
    fs::write(&evil, format!("\\! touch {}\n", canary.display())).unwrap();
    fs::write(cluster.path("part.sql"), "\\echo the part\n").unwrap();
    fs::create_dir(cluster.path("out")).unwrap();
    let touch = format!("touch {}", canary.display());
    let script = r"
\echo `echo :cmd` `echo ':cmd'` `echo ':quote'` `printf %s :quote`
\echo `echo $((:number + 1))` `echo $((:cmd))`
\o :pipe
\o :1
\o out/:outside
\o :name
\o out/:name
select 'kept' as word;
\o
\set again :outside
\i :outside
\i :again
\run file=:outside
\i `echo :outside`
\i `printf '%s' ':outside'`
\set printed `echo :outside`
\i :printed
\set joined `echo ``echo :printed`
\i :joined
\o `echo out/`:outside
\o out/`echo :outside`
\i :part
\i `echo :part`
\set mine `echo out/own.txt`
\o :mine
select 'own' as word;
\o
\o |touch canary
\echo end
";
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rsql"));
    command.args(["-h", "127.0.0.1", "-U", "postgres", "-d", "postgres", "-t", "-A", "-v"]);
    command.arg(format!("1=|{touch}"));
    let command = cluster.prepare(&mut command).envs([
        ("RSQL_VARIABLES", "cmd,quote,number,pipe,outside,name,part"),
        ("cmd", &format!("$({touch})")),
        ("quote", &format!("it's; {touch}")),
        ("number", "41"),
        ("pipe", &format!("|{touch}")),
        ("outside", evil.to_str().unwrap()),
        ("name", "a b"),
        ("part", "part.sql"),
    ]);
    let ran = run(command, script);
    assert!(!canary.exists(), "{ran:?}");
    let told = format!("{}--- stderr\n{}--- status {}", ran.stdout, ran.stderr, ran.status);
    let told = told.replace(outside.path().to_str().unwrap(), "OUTSIDE");
    insta::assert_snapshot!(told.replace(cluster.directory.path().to_str().unwrap(), "HERE"));
    assert_eq!(fs::read_to_string(cluster.path("out/a b")).unwrap(), "kept\n");
    assert_eq!(fs::read_to_string(cluster.path("out/own.txt")).unwrap(), "own\n");
    assert!(!cluster.path("|touch canary").exists());
}
