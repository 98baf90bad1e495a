//! Exit statuses, errors, and where output goes.

use std::fs;

use crate::cluster::Cluster;

#[test]
fn exit_statuses() {
    let cluster = Cluster::start();
    let file = cluster.path("bad.sql");
    fs::write(&file, "select 1;\nselect\n  nope;\nselect 2;\n").unwrap();
    let file = file.to_str().unwrap();
    let bad = "select nope;\n";
    for (arguments, script, status) in [
        (&["-q"][..], "select 1;", 0),
        (&[], bad, 0),
        (&["-v", "ON_ERROR_STOP=1"], bad, 3),
        (&["-v", "ON_ERROR_STOP=1", "-f", file], "", 3),
        (&["-v", "ON_ERROR_STOP=1", "-c", bad], "", 1),
        (&["-f", file], "", 0),
        (&["-f", "-"], "\\exit 7", 7),
        (&["-c", bad], "", 1),
        (&["-c", bad, "-c", "select 1"], "", 0),
        (&["-c", "\\exit 9", "-c", bad], "", 9),
        (&["-f", "/nowhere/at/all.sql"], "", 1),
        (&["--nonsense"], "", 1),
        (&["-p", "1"], "", 2),
        (&[], "\\exit\nselect nope;", 0),
        (&[], "\\quit 4", 4),
        (&[], "\\EXIT 15", 15),
        (&[], "\\exit 42P01", 1),
        (&[], "\\goto nowhere\n\\exit 0\n", 3),
        (&[], "\\if true\n", 0),
        (&[], "\\rset maxerror 7\nselect nope;\n\\exit 0", 8),
        (&[], "\\rset errorlevel 42703 severity 4\n\\rset maxerror 7\nselect nope;\n\\exit 5", 5),
        (&["--exit-status", "severity"], bad, 8),
        (&["--version"], "", 0),
        (&["--help"], "", 0),
    ] {
        let ran = cluster.rsql(arguments, script);
        assert_eq!(ran.status, status, "{arguments:?} {script:?}: {ran:?}");
    }

    let ran = cluster.rsql(&["-f", file], "");
    assert!(
        ran.stderr.starts_with(&format!(
            "rsql:{file}:3: ERROR:  column \"nope\" does not exist\nSQLSTATE: 42703\nLINE 2: "
        )),
        "{ran:?}"
    );
    let refused = cluster.rsql(&["-p", "1"], "");
    assert_eq!(refused.stdout, "");
    assert!(
        refused.stderr.starts_with("rsql: error: could not connect to 127.0.0.1, port 1: ")
            && refused.stderr.lines().count() == 1,
        "{refused:?}"
    );
}

#[test]
fn output_and_logins() {
    let cluster = Cluster::start();
    // With -t -A -c stdout holds nothing but rows.
    let rows = cluster.rsql(&["-t", "-A", "-c", "select 1, 'a' union all select 2, null"], "");
    assert_eq!((rows.stdout.as_str(), rows.stderr.as_str()), ("1|a\n2|\n", ""));
    let file = cluster.path("out.txt");
    let ran = cluster.rsql(&["-o", file.to_str().unwrap(), "-A"], "select 1 as a;\n\\echo shown\n");
    assert_eq!(ran.stdout, "shown\n");
    assert_eq!(fs::read_to_string(&file).unwrap(), "a\n1\n(1 row)\n");
    let full = cluster.rsql(&["-o", "/dev/full"], "select 1;");
    assert_eq!(full.status, 1, "{full:?}");

    // stdout and stderr keep their order when they are one stream.
    let rsql = env!("CARGO_BIN_EXE_rsql");
    let mut merged = std::process::Command::new("sh");
    merged.args(["-c", &format!("{rsql} -h 127.0.0.1 -U postgres -d postgres 2>&1")]);
    let script =
        "\\echo Error Code\nselect nope;\n\\echo after\ndo $$ begin raise notice 'hm'; end $$;\n\\echo end\n";
    let merged = crate::cluster::run(cluster.prepare(&mut merged), script);
    assert_eq!(
        merged.stdout,
        "Error Code\nrsql: ERROR:  column \"nope\" does not exist\nSQLSTATE: 42703\n\
         LINE 1: select nope;\n               ^\nafter\nNOTICE:  hm\nDO\nend\n"
    );

    // Passwords: both kinds the server can ask for, then none and a wrong one.
    let setup = "set password_encryption = 'scram-sha-256'; create role s login password 'p''w';\n\
                 set password_encryption = 'md5'; create role m login password 'p''w';";
    assert_eq!(cluster.rsql(&["-v", "ON_ERROR_STOP=1"], setup).status, 0);
    let rules = "local all all trust\nhost all s 127.0.0.1/32 scram-sha-256\nhost all m 127.0.0.1/32 md5\nhost all all 127.0.0.1/32 trust\n";
    fs::write(cluster.path("data/pg_hba.conf"), rules).unwrap();
    assert_eq!(cluster.rsql(&["-c", "select pg_reload_conf()"], "").status, 0);
    let ini = cluster.path("odbc.ini");
    fs::write(
        &ini,
        format!("[etl]\nHost=127.0.0.1\nPort={}\nDatabase=postgres\nUID=s\nPWD=p'w\n", cluster.port),
    )
    .unwrap();
    let ini = ini.to_str().unwrap();
    for user in ["s", "m"] {
        let whoami = ["-U", user, "-tAc", "select current_user"];
        let right = cluster.rsql_with(&[("RSPASSWORD", "p'w")], &whoami, "");
        assert_eq!((right.stdout.trim(), right.status), (user, 0), "{right:?}");
        let none = cluster.rsql(&whoami, "");
        assert!(none.status == 2 && none.stderr.contains("set RSPASSWORD"), "{none:?}");
        let wrong = cluster.rsql_with(&[("RSPASSWORD", "hunter2")], &whoami, "");
        assert!(wrong.status == 2 && wrong.stderr.contains("check the user and RSPASSWORD"), "{wrong:?}");
        assert!(!wrong.stderr.contains("hunter2"));
    }
    let mut dsn = std::process::Command::new(rsql);
    dsn.args(["-D", "etl", "-tAc", "select current_user"]).env("ODBCINI", ini);
    let dsn = crate::cluster::run(cluster.prepare(&mut dsn), "");
    assert_eq!(dsn.stdout, "s\n", "{dsn:?}");
    // Towards Redshift nothing is translated; towards PostgreSQL it is, and told to those who ask.
    let vacuum = ["-c", "vacuum sort only"];
    let redshift = cluster.rsql_with(&[("RSQL_DIALECT", "redshift")], &vacuum, "");
    assert!(redshift.stderr.contains("SQLSTATE: 42601"), "{redshift:?}");
    let told = cluster.rsql_with(&[("RSQL_LOG", "debug")], &vacuum, "");
    assert_eq!((told.status, told.stdout.as_str()), (0, "VACUUM\n"));
    assert!(told.stderr.contains("translated for PostgreSQL"), "{told:?}");
    // A Unix socket, and a server without TLS where TLS is a must.
    let socket = cluster.rsql(&["-h", cluster.directory.path().to_str().unwrap(), "-c", "select 1"], "");
    assert_eq!(socket.status, 0, "{socket:?}");
    let tls = cluster.rsql_with(&[("PGSSLMODE", "require")], &["-c", "select 1"], "");
    assert!(tls.status == 2 && tls.stderr.contains("does not offer TLS"), "{tls:?}");
}
