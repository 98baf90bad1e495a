use std::io::Write as _;

use super::*;

fn resolve(asked: &Asked, environment: &[(&str, &str)]) -> Result<Target, TargetError> {
    let lookup =
        |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Target::resolve(asked, &lookup)
}

#[test]
fn the_defaults_are_redshifts() {
    let target = resolve(&Asked::default(), &[("USER", "ann")]).unwrap();
    assert_eq!((target.host.as_str(), target.port), ("localhost", 5439));
    assert_eq!((target.user.as_str(), target.database.as_str()), ("ann", "ann"));
    assert_eq!(target.tls, TlsMode::Prefer);
    assert_eq!(target.password, None);
}

#[test]
fn rsport_goes_before_pgport_and_both_after_the_option() {
    let environment = [("RSPORT", "1"), ("PGPORT", "2")];
    assert_eq!(resolve(&Asked::default(), &environment).unwrap().port, 1);
    assert_eq!(resolve(&Asked::default(), &environment[1..]).unwrap().port, 2);
    let asked = Asked { port: Some("3".into()), ..Asked::default() };
    assert_eq!(resolve(&asked, &environment).unwrap().port, 3);
    let asked = Asked { port: Some("none".into()), ..Asked::default() };
    assert_eq!(
        resolve(&asked, &[]).unwrap_err().to_string(),
        r#"port "none" (from -p) is not a number between 1 and 65535"#
    );
}

#[test]
fn the_password_comes_from_rspassword_then_the_dsn_then_pgpassword() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "[etl]\nHost=h\nPWD=from-dsn\n[cloud]\nIAM=1\nHost=h\n[bare]\nIAM=0").unwrap();
    let ini = file.path().to_str().unwrap();
    let asked = |dsn: &str| Asked { dsn: Some(dsn.into()), ..Asked::default() };
    let password = |asked: &Asked, environment: &[(&str, &str)]| {
        resolve(asked, environment).unwrap().password.unwrap().expose().to_owned()
    };
    let all = [("ODBCINI", ini), ("PGPASSWORD", "from-pg"), ("RSPASSWORD", "from-rs")];
    assert_eq!(password(&asked("etl"), &all), "from-rs");
    assert_eq!(password(&asked("etl"), &all[..2]), "from-dsn");
    assert_eq!(password(&Asked::default(), &all[..2]), "from-pg");

    let refused = resolve(&asked("cloud"), &all[..1]).unwrap_err().to_string();
    assert!(refused.contains("set RSPASSWORD"), "{refused}");
    assert!(matches!(resolve(&asked("bare"), &all), Err(TargetError::NoHost(_))));
    assert!(matches!(resolve(&asked("gone"), &all), Err(TargetError::Dsn(DsnError::Missing { .. }))));
}

#[test]
fn a_password_never_shows_in_debug_output() {
    let target = resolve(&Asked::default(), &[("RSPASSWORD", "hunter2")]).unwrap();
    assert!(!format!("{target:?}").contains("hunter2"));
}
