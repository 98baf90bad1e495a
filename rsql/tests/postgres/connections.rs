//! TLS, and what a signal does to a running statement.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cluster::Cluster;

#[test]
fn tls_encrypts_and_verifies_as_much_as_it_is_told() {
    let cluster = Cluster::start();
    // A self-signed certificate for 127.0.0.1, made where the server may read its key.
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=warehouse"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(cluster.path("data/server.key"))
        .arg("-out")
        .arg(cluster.path("data/server.crt"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    cluster.give_to_server(&cluster.path("data/server.key"));
    let setup = "alter system set ssl = on;\nselect pg_reload_conf();\n";
    assert_eq!(cluster.rsql(&["-v", "ON_ERROR_STOP=1"], setup).status, 0);
    let deadline = Instant::now() + Duration::from_secs(20);
    while cluster.rsql_with(&[("PGSSLMODE", "require")], &["-c", "select 1"], "").status != 0 {
        assert!(Instant::now() < deadline, "the server does not take up TLS");
    }

    let root = cluster.path("data/server.crt");
    let root = root.to_str().unwrap();
    let encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    for (mode, host, roots, expected) in [
        ("prefer", "127.0.0.1", "", "t\n"),
        ("disable", "127.0.0.1", "", "f\n"),
        ("require", "localhost", "", "t\n"),
        ("verify-ca", "localhost", root, "t\n"),
        ("verify-full", "127.0.0.1", root, "t\n"),
        ("verify-full", "localhost", root, ""),
        ("verify-ca", "127.0.0.1", "", ""),
    ] {
        let environment = [("PGSSLMODE", mode), ("PGSSLROOTCERT", roots)];
        let ran = cluster.rsql_with(&environment, &["-h", host, "-tAc", encrypted], "");
        assert_eq!(ran.stdout, expected, "{mode} {host}: {ran:?}");
        let failed = expected.is_empty();
        assert_eq!(ran.status, if failed { 2 } else { 0 });
        assert_eq!(failed, ran.stderr.contains("TLS failed"), "{ran:?}");
    }
}

#[test]
fn a_signal_cancels_the_statement_and_no_other_is_sent() {
    let cluster = Cluster::start();
    let count = |condition: &str| {
        let query = format!("select count(*) from pg_stat_activity where {condition}");
        cluster.psql(&["-tAc", &query], "").stdout.trim().to_owned()
    };
    let running = "query = 'select pg_sleep(600);' and state = 'active'";
    for (signal, status) in [("TERM", 143), ("INT", 130)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rsql"));
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-d", "postgres"]);
        command.args(["-c", "select pg_sleep(600); create table never (a int);"]);
        let client =
            cluster.prepare(&mut command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while count(running) != "1" {
            assert!(Instant::now() < deadline, "the statement does not run");
        }
        let pid = client.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        let output = client.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        assert!(stderr.contains("SQLSTATE: 57014"), "{stderr}");
        assert_eq!(count(running), "0");
        let table = cluster.psql(&["-tAc", "select to_regclass('never') is null"], "");
        assert_eq!(table.stdout, "t\n");
    }

    // Held up by its input it leaves all the same.
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsql"));
    command.args(["-h", "127.0.0.1", "-U", "postgres", "-d", "postgres"]).stdin(Stdio::piped());
    let mut client = cluster.prepare(&mut command).spawn().unwrap();
    let stdin = client.stdin.take().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while count("application_name = 'rsql'") != "1" {
        assert!(Instant::now() < deadline, "the client does not connect");
    }
    assert!(Command::new("kill").arg(client.id().to_string()).status().unwrap().success());
    // `wait` would close its stdin, which is another way to end it.
    let held = stdin;
    assert!(!client.wait().unwrap().success());
    drop(held);
}
