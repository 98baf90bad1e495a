use super::*;

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Settings, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE_NAME), file).unwrap();
    let environment = environment.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    Settings::load(None, dir.path(), environment)
        .map_err(|error| error.to_string().replace(&dir.path().display().to_string(), "DIR"))
}

#[test]
fn nothing_set_is_the_embedded_file() {
    let settings = load("", &[]).unwrap();
    assert_eq!(settings.backend, Backend::Local);
    assert_eq!((settings.region.as_str(), settings.profile.as_str()), ("us-east-1", ""));
    assert_eq!(load("backend = 'aws'", &[]).unwrap().region, "");
    assert!(Settings::has_key("tables.config") && Settings::has_key("region"));
    assert!(!Settings::has_key("tables.confug") && !Settings::has_key("region.x"));
    assert_eq!(settings.tables.job_audit, "rsqlflow-job-audit");
    assert!(settings.scripts_dir.is_absolute());
}

#[test]
fn the_environment_wins_over_the_file() {
    let file = "region = \"eu-west-1\"\n[agent]\ngrace_seconds = 3\n[local.secrets.x]\nhost='h'\nport=1\nusername='u'\npassword='p'\ndbname='d'";
    let settings = load(file, &[("RSQLFLOW_AGENT_GRACE_SECONDS", "7"), ("RSQLFLOW_UNRELATED", "x")]).unwrap();
    assert_eq!((settings.region.as_str(), settings.agent.grace_seconds), ("eu-west-1", 7));
    assert_eq!(settings.local.secrets["x"].port, 1);
    assert!(!format!("{settings:?}").contains("\"p\""));
}

#[test]
fn names_of_parameters_are_listed_in_the_file_or_the_environment() {
    let settings = load("parameter_names = ['RUN_DATE']\n[agent.environment]\nregion = 'eu'", &[]).unwrap();
    assert_eq!(settings.parameter_names().problem("RUN_DATE"), None);
    assert!(settings.parameter_names().problem("region").is_some());
    let listed =
        load("parameter_names = ['RUN_DATE']", &[("RSQLFLOW_PARAMETER_NAMES", "A_B, C_D  E")]).unwrap();
    assert_eq!(listed.parameter_names, ["A_B", "C_D", "E"]);
    assert!(load("", &[("RSQLFLOW_PARAMETER_NAMES", "")]).unwrap().parameter_names.is_empty());
    let told = load("parameter_names = ['PATH', 'a-b']", &[]).unwrap_err();
    insta::assert_snapshot!(told, @"
    parameter_names: `PATH` is a variable that every script relies on; choose another name
    parameter_names: `a-b` is not a name for an environment variable; use letters, digits and _, no digit first
    ");
    let told = load("parameter_names = 'RUN_DATE'", &[]).unwrap_err();
    assert_eq!(told, "DIR/rsqlflow.toml: parameter_names: must be array, is string");
    let told = load("parameter_names = [1]", &[]).unwrap_err();
    assert_eq!(told, "parameter_names: must be a list of texts, has 1");
}

#[test]
fn only_those_who_start_runs_need_the_state_machines() {
    let settings = load("backend = 'aws'", &[]).unwrap();
    let error = settings.check_state_machines().unwrap_err().to_string();
    let named = "state_machines.master, state_machines.sequential, state_machines.parallel";
    assert_eq!(error, format!("backend = \"aws\" needs {named} of the deployed stack"));
    load("", &[]).unwrap().check_state_machines().unwrap();
}

/// What the packages install as /etc/rsqlflow/rsqlflow.toml holds, as it is and with every setting it suggests.
#[test]
fn the_installed_file_holds() {
    let file = include_str!("../../systemd/rsqlflow.toml");
    let settings = load(file, &[]).unwrap();
    assert_eq!((settings.backend, settings.region.as_str()), (Backend::Aws, ""));
    assert_eq!(settings.scripts_dir, Path::new("/srv/rsqlflow/scripts"));
    let suggested: String = file
        .lines()
        .map(|line| {
            let bare = line.strip_prefix("# ").unwrap_or(line);
            let setting =
                bare.starts_with('[') || bare.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
            if setting { format!("{bare}\n") } else { format!("{line}\n") }
        })
        .collect();
    let settings = load(&suggested, &[]).unwrap();
    settings.check_state_machines().unwrap();
    assert_eq!(settings.agent.environment["TZ"], "Europe/Berlin");
}

#[test]
fn pools_are_the_operators_own() {
    let settings =
        load("[agent]\nlisten = '[::1]:9464'\n[agent.pools]\netl = 4\n'wlm.large' = 1", &[]).unwrap();
    assert_eq!(settings.agent.pools, BTreeMap::from([("etl".into(), 4), ("wlm.large".into(), 1)]));
    assert_eq!(settings.agent.listen_address().unwrap().port(), 9464);
    let usual = load("", &[("RSQLFLOW_AGENT_STRICT_MODES", "false")]).unwrap().agent;
    assert_eq!((usual.max_running_jobs, usual.pools.len(), usual.strict_modes), (40, 0, false));
    assert_eq!(usual.listen_address(), None);
}

#[test]
fn secrets_are_listed_by_workflow() {
    let settings = load("[agent.secrets]\n'nightly-*' = ['rsqlflow/team-a/*', 'x']\nw = []", &[]).unwrap();
    assert_eq!(settings.agent.secrets["nightly-*"], ["rsqlflow/team-a/*", "x"]);
    assert!(load("", &[]).unwrap().agent.secrets.is_empty());
    let wrong = load("[agent.secrets]\n'nightly-*' = 'rsqlflow/x'\nw = ['a', 1]", &[]).unwrap_err();
    insta::assert_snapshot!(wrong);
}

#[test]
fn limits_that_are_none_are_told() {
    let counts = load(
        "[agent]\nmax_running_jobs = -1\ngrace_seconds = -1\nlog_limit_bytes = -1\nlog_retention_days = 999999999\nmin_free_mib = 9223372036854775807\n[agent.pools]\netl = 0\nbi = 'two'",
        &[],
    );
    let none = load("[agent]\nlog_retention_days = 0", &[]);
    let group = ["ops logs", ""].map(|name| load(&format!("log_group = '{name}'"), &[]).unwrap_err());
    let pool = load("[agent.pools]\n'a b' = 1", &[]);
    let listen = ["localhost:9464", "0.0.0.0:9464", "127.0.0.1"]
        .map(|at| load("", &[("RSQLFLOW_AGENT_LISTEN", at)]).unwrap_err());
    let told =
        [counts.unwrap_err(), none.unwrap_err(), group.join("\n"), pool.unwrap_err(), listen.join("\n")]
            .join("\n");
    insta::assert_snapshot!(told);
}

#[test]
fn values_that_cannot_be_are_told_with_their_key() {
    let told = load(
        "host = 'foo'\nsecret_id = ''\n[tables]\nconfig = ''\njob_audit = ''\n[local]\nlisten = 'abc'",
        &[],
    );
    let listen = load("", &[("RSQLFLOW_LOCAL_LISTEN", "0.0.0.0:4566")]);
    let host = load("host = ''", &[]);
    let backend = [load("backend = 'awss'", &[]), load("backend = 'aws'", &[("RSQLFLOW_BACKEND", "cloud")])];
    let told = [told, listen, host].into_iter().chain(backend).map(Result::unwrap_err).collect::<Vec<_>>();
    insta::assert_snapshot!(told.join("\n"));
    let account = load("backend = 'aws'\nhost = ''\nsecret_id = ''", &[]).unwrap();
    assert_eq!((account.host.as_str(), account.secret_id.as_str()), ("", ""));
}

#[test]
fn mistakes_are_named_all_at_once() {
    let error = load(
        "regoin = 'x'\nheartbeat_seconds = 'often'\n[agent]\ngrace = 1\n[tabels]\nconfig = 'c'",
        &[("RSQLFLOW_HEARTBEAT_SECONDS", "soon")],
    )
    .unwrap_err();
    insta::assert_snapshot!(error);
    assert!(load("[local.secrets.x]\npasword = 'p'", &[]).unwrap_err().contains("`password`"));
    let error = load("[local.warehouse]\nurl = 'postgres://u:secret@h' oops", &[]).unwrap_err();
    assert!(error.contains("line 2") && !error.contains("secret"), "{error}");
}
