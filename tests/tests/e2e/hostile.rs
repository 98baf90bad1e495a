//! Promise 8: nothing that a person may write into an item becomes a command, a variable that a program obeys, or a file
//! elsewhere. A hundred names and a page of values, against the real agent and real interpreters. docs/security.md says
//! in words what is tried here.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use rsqlflow_config::job::{JobRequest, VERSION};
use rsqlflow_config::names::ParameterNames;
use rsqlflow_config::validate;
use rsqlflow_tests::site::{Site, binaries};
use rsqlflow_tests::up::Up;
use serde_json::{Value, json};

/// Variables that change what a program does, by program, and names that are none.
const HOSTILE: &str = "
    PATH HOME USER SHELL IFS ENV BASH_ENV BASHOPTS SHELLOPTS PS1 PS4 PROMPT_COMMAND CDPATH GLOBIGNORE FCEDIT HISTFILE
    INPUTRC BASH_LOADABLES_PATH BASH_FUNC_x BASH_XTRACEFD EXECIGNORE POSIXLY_CORRECT ZDOTDIR KSH_VERSION TMOUT
    histchars auto_resume ignoreeof fish_function_path fish_trace ifs path cdpath fn_ls fn_cd
    custombeforemicrosoftcommontargets customaftermicrosoftcommonprops directorybuildpropspath msbuildextensionspath
    msbuildsdkspath nugetrestoretargets nuget_packages
    LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT GCONV_PATH LOCPATH NLSPATH MALLOC_CHECK_ GLIBC_TUNABLES GETCONF_DIR RES_OPTIONS
    HOSTALIASES TMPDIR TZDIR TZ LANG LC_ALL LANGUAGE
    PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONWARNINGS PYTHONINSPECT PYTHONUSERBASE PYTHONBREAKPOINT BROWSER
    PERL5LIB PERL5OPT PERL5DB PERLIO_DEBUG RUBYOPT RUBYLIB GEM_PATH BUNDLE_GEMFILE rvm_path shell
    NODE_OPTIONS NODE_PATH npm_config_script_shell npm_config_registry pnpm_config_registry yarn_registry
    JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS CLASSPATH MAVEN_OPTS spring_config_location dotnet_startup_hooks
    PHPRC PHP_INI_SCAN_DIR LUA_INIT LUA_PATH R_PROFILE TCLLIBPATH AWKPATH AWKLIBPATH
    TAR_OPTIONS TAPE GZIP XZ_OPT ZIPOPT UNZIPOPT LESS LESSOPEN LESSCLOSE PAGER MANPAGER EDITOR VISUAL
    GIT_SSH_COMMAND GIT_EXTERNAL_DIFF GIT_CONFIG_GLOBAL SSH_ASKPASS RSYNC_RSH CVS_RSH SVN_EDITOR
    MAKEFLAGS MAKEFILES CC CFLAGS COMPILER_PATH GCC_EXEC_PREFIX ac_cv_prog_CC
    PSQLRC PSQL_EDITOR PGSERVICEFILE PGPASSFILE PGHOST PGOPTIONS PGSYSCONFDIR ODBCINI
    AWS_ENDPOINT_URL AWS_CONFIG_FILE AWS_PROFILE AWS_ACCESS_KEY_ID AWS_CA_BUNDLE AWS_PAGER
    CURL_HOME WGETRC SSL_CERT_FILE OPENSSL_CONF OPENSSL_MODULES KRB5_CONFIG DOCKER_HOST KUBECONFIG
    HTTP_PROXY HTTPS_PROXY http_proxy https_proxy all_proxy ftp_proxy no_proxy grpc_proxy http_proxy_user
    sendmail mta smtp record autobcc MAILRC shell_escape openout_any
    HOST PORT DB PASSWORD RSPASSWORD RSPORT WORKFLOW_ID WORKFLOW_EXECUTION_ID JOB_NAME ATTEMPT
    RSQLFLOW_AGENT_SOCKET RSQLFLOW_SECRET_ID RSQLFLOW_PARAMETER_NAMES RSQL_VARIABLES RSQL_S3_ROOT RSQL_VALUE_1
    ON_ERROR_STOP ECHO QUIET Run_Date runDate _ _x 1day a-b a.b a=b x;y $(id)
";

/// Names that mean nothing to any program.
const PLAIN: [&str; 11] = [
    "run_date",
    "day",
    "x",
    "load_type",
    "schema",
    "s3_bucket",
    "table_name",
    "batch2",
    "mode",
    "command",
    "editor",
];

/// Values that become commands where anything reads them as shell text. `CANARY` is a file that must not appear.
fn hostile_values(canary: &Path) -> Vec<String> {
    [
        "touch CANARY",
        "; touch CANARY",
        ";touch CANARY;",
        "| touch CANARY",
        "|touch CANARY",
        "|| touch CANARY",
        "& touch CANARY",
        "&& touch CANARY",
        "$(touch CANARY)",
        "`touch CANARY`",
        "${x:-$(touch CANARY)}",
        "' ; touch CANARY ; '",
        "\" ; touch CANARY ; \"",
        "'\"; touch CANARY #",
        "\\'; touch CANARY",
        "\\\"; touch CANARY",
        "\ntouch CANARY\n",
        "a\n\\! touch CANARY\n",
        "\\! touch CANARY",
        "\\\\! touch CANARY",
        "\\o |touch CANARY",
        "\\g |touch CANARY",
        "x' \\! touch CANARY",
        "() { :;}; touch CANARY",
        "a[$(touch CANARY)]",
        "-c touch CANARY",
        "--command=\\! touch CANARY",
        "> CANARY",
        "CANARY",
        "../../../../../../..CANARY",
        "%n%s $IFS~*",
        "it's \"größe\" 数据 🚀",
    ]
    .map(|value| value.replace("CANARY", &canary.display().to_string()))
    .to_vec()
}

fn request(parameters: BTreeMap<String, String>, token: &str) -> JobRequest {
    JobRequest {
        version: VERSION,
        task_token: token.into(),
        workflow_id: "w".into(),
        workflow_execution_id: "r".into(),
        job_name: "job.sh".into(),
        script: "job.sh".into(),
        arguments: vec![],
        parameters,
        timeout_seconds: None,
        stall_seconds: None,
        retry: None,
        success_exit_codes: vec![],
        pool: None,
        priority: 0,
        sent_at: None,
        first_attempt: 1,
        secret_id: "rsqlflow/warehouse".into(),
        heartbeat_seconds: 30,
    }
}

/// Hands a request to the agent of an `rsqlflow up`, past the checks of item and trigger; what it says.
fn submit(site: &Site, request: &JobRequest) -> (Option<i32>, String) {
    use std::io::Write;
    let mut command = Command::new(binaries().join("rsqlflow-agent"));
    command.args(["submit", "--data-dir"]).arg(site.data_dir().join("agent")).current_dir(site.path(""));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(request.encode().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_hundred_hostile_names_are_refused_where_they_are_written_and_where_they_would_run() {
    let site = Site::new();
    let canary = site.path("canary");
    site.script("job.sh", &format!("#!/bin/sh\ntouch '{}'\n", canary.display()));
    let up = Up::start(&site);
    let names: Vec<&str> = HOSTILE.split_ascii_whitespace().collect();
    assert!(names.len() > 100, "{}", names.len());
    for name in names {
        let item = json!({"workflow_id": "w", "parameters": {name: "x"},
            "workflow_stages": [{"execution_type": "parallel", "scripts": [
                {"script": "job.sh", "parameters": {name: "x"}}]}]});
        let told = validate::problems(&item, &ParameterNames::default());
        let paths: Vec<String> = told.iter().map(|problem| problem.path.clone()).collect();
        let wanted =
            [format!("workflow_stages[0].scripts[0].parameters.{name}"), format!("parameters.{name}")];
        assert!(wanted.iter().all(|path| paths.contains(path)), "{name}: {paths:?}");
        let (code, said) =
            submit(&site, &request([(name.into(), "x".into())].into(), &format!("token-{name}")));
        assert_eq!(code, Some(1), "{name}: {said}");
        assert!(said.contains(&told[0].message), "{name}: {said} has other words than {}", told[0].message);
    }
    let refused = site.rsqlflow(&["run", "w", "--param", "PYTHONWARNINGS=x"]).expect(2);
    assert!(refused.stderr.contains("parameter `PYTHONWARNINGS` is not in lower case"), "{}", refused.stderr);
    assert!(!canary.exists(), "a refused job was started");
    // It takes what it may take.
    let (code, said) = submit(&site, &request([("run_date".into(), "x".into())].into(), "token-good"));
    assert_eq!(code, Some(0), "{said}");
    up.stop();
}

#[test]
fn a_host_lets_through_what_its_own_settings_list() {
    let site = Site::new();
    site.settings("parameter_names = [\"RUN_DATE\"]\n[agent.environment]\nregion = \"eu\"\n");
    let seen = site.path("seen");
    site.script("job.sh", &format!("#!/bin/sh\necho \"$RUN_DATE $region\" > '{}'\n", seen.display()));
    let item = |parameters: Value| {
        let text = json!({"workflow_id": "w", "parameters": parameters,
            "workflow_stages": [{"execution_type": "parallel", "scripts": ["job.sh"]}]});
        site.file("item.json", &text.to_string())
    };
    let good = item(json!({"RUN_DATE": "2026-11-29"}));
    site.rsqlflow(&["config", "put", good.to_str().unwrap()]).expect(0);
    site.rsqlflow(&["run", "w", "--id", "r", "--wait"]).expect(0);
    assert_eq!(std::fs::read_to_string(&seen).unwrap(), "2026-11-29 eu\n");
    let bad = item(json!({"region": "us", "TNS_ADMIN": "/tmp"}));
    let told = site.rsqlflow(&["config", "validate", bad.to_str().unwrap()]).expect(2).stderr;
    assert!(told.contains("parameters.region: is set by the host itself"), "{told}");
    assert!(told.contains("parameters.TNS_ADMIN: is not in lower case"), "{told}");
    assert!(told.contains("rename it to `tns_admin`, here and in the scripts, or list it"), "{told}");
    // What was stored and started under other settings is refused where it would run.
    site.settings("");
    let told = site.rsqlflow(&["run", "w", "--id", "later", "--wait"]).expect(2).stderr;
    assert!(told.contains("parameters.RUN_DATE") && told.contains("rename it to `run_date`"), "{told}");
}

/// Everything that scripts are known to do with values, quoted as it should be. The arguments are the values again.
const LOOK: &str = r#"#!/bin/bash
shift 2
at=0
for value in "$@"; do
    name=v$at
    [ "${!name}" = "$value" ] || exit 9
    rsql -v "d=$value" -h localhost -p 1 -c 'select 1' 2> /dev/null
    at=$((at + 1))
done
for shell in sh bash; do
    $shell -c 'printf "%s" "$v0" "$v31" > /dev/null; [ -n "$command$shell$editor" ]' || exit 10
done
for program in 'python3 -c pass' 'perl -e 1' 'awk BEGIN{}' 'tar --version' 'git --version' 'psql --version'; do
    command -v ${program%% *} > /dev/null || continue
    $program > /dev/null || exit 11
done
exit 0
"#;

/// What a SQL file may do with a value, as parameter `:value` and as argument `:argument`.
const SQL: &str = r"
\set again :value
select :'value' as v, :'argument' as a, :'again' as b \gset
\if :'v' <> :'value'
  \exit 9
\endif
\echo `printf '%s' :value` `printf '%s' ':value'` `printf '%s' :'argument'`
\echo `printf '%s' ':value' :argument :again`
\o :value
\o :again
select 'to a file';
\o
\i :value
\ir :argument
\run file=:value
\g :value
\w :value
\s :value
\cd :value
\setenv x :value
\copy (select 1) to program :value
\echo :'value' :value
\remark :value
";

#[test]
fn a_page_of_hostile_values_runs_nothing_and_writes_nothing() {
    let site = Site::new();
    site.settings("heartbeat_seconds = 60\n");
    let canary = site.path("canary");
    let values = hostile_values(&canary);
    let mut parameters: serde_json::Map<String, Value> =
        values.iter().enumerate().map(|(at, value)| (format!("v{at}"), value.clone().into())).collect();
    for (name, value) in PLAIN.iter().zip(&values) {
        parameters.insert((*name).into(), value.clone().into());
    }
    let block = |at: usize| {
        let block = SQL.replace("argument", &(at + 1).to_string());
        block.replace(":value", &format!(":v{at}")).replace(":'value'", &format!(":'v{at}'"))
    };
    site.script("look.sh", LOOK);
    std::fs::write(site.path("scripts/look.sql"), (0..values.len()).map(block).collect::<String>()).unwrap();
    site.put(&json!({"workflow_id": "w", "parameters": parameters, "workflow_stages": [
        {"execution_type": "sequential", "execution_flag": "y", "scripts": [
            {"script": "look.sh", "arguments": values}, {"script": "look.sql", "arguments": values}]}]}));
    let ran = site.rsqlflow(&["run", "w", "--id", "r", "--wait"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!canary.exists(), "{}", std::fs::read_to_string(&canary).unwrap_or_default());
    let mut left: Vec<String> = std::fs::read_dir(site.path("scripts"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    left.sort();
    assert_eq!(left, ["look.sh", "look.sql"], "files were written");
    // The values arrived, and were printed as they are.
    let logs = site.rsqlflow(&["logs", "r", "look.sql"]).expect(0).stdout;
    for value in values.iter().filter(|value| !value.contains('\n')) {
        assert!(logs.contains(value.as_str()), "{value} is not in {logs}");
    }
}

/// What a command prints to a terminal of its own.
fn on_a_terminal(site: &Site, command: &str) -> String {
    let line = format!("'{}' {command}", binaries().join("rsqlflow").display());
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).current_dir(site.path("")).env("TERM", "xterm-256color");
    rsqlflow_tests::site::run(&mut script).expect(0).stdout
}

#[test]
fn a_terminal_obeys_nothing_that_people_or_scripts_wrote() {
    let site = Site::new();
    // A title, a bell, a cursor that goes up, text that turns round; and a colour.
    site.script("evil.sh", "#!/bin/sh\nprintf 'a\\033]0;pwned\\007\\033[2Ab\\342\\200\\256c \\033[32mgreen\\n' | tee /dev/stderr\nexit 7\n");
    site.put(&json!({"workflow_id": "w", "workflow_stages": [
        {"execution_type": "sequential", "execution_flag": "y", "scripts": ["evil.sh"]}]}));
    site.rsqlflow(&["run", "w", "--id", "r", "--wait"]).expect(1);
    let obeyed = ["\u{1b}]0;", "\u{7}", "\u{1b}[2A", "\u{202e}"];
    for command in ["logs r", "status r", "runs"] {
        let shown = on_a_terminal(&site, command);
        assert!(obeyed.iter().all(|sequence| !shown.contains(sequence)), "{command}: {shown:?}");
    }
    let shown = on_a_terminal(&site, "logs r");
    let line = "a\\x1b]0;pwned\\x07\\x1b[2Ab\\u{202e}c \u{1b}[32mgreen\u{1b}[0m";
    assert!(shown.contains(line), "{shown:?}");
    let raw = "a\u{1b}]0;pwned\u{7}\u{1b}[2Ab\u{202e}c \u{1b}[32mgreen\n";
    assert!(site.rsqlflow(&["logs", "r"]).expect(0).stdout.contains(raw));
    assert!(on_a_terminal(&site, "logs r --raw").contains("\u{1b}]0;pwned\u{7}"));
    let json = site.rsqlflow(&["logs", "r", "--json"]).expect(0);
    assert!(
        json.stdout.contains("\\u001b]0;pwned\\u0007") && json.stdout.contains("\\u202e"),
        "{}",
        json.stdout
    );
    // Nor does an item get there: neither its words in an error message, nor names that look like others.
    let evil = site.file("evil.json", &json!({"workflow_id": "w\u{1b}[2J", "workflow_stages": [
        {"execution_type": "parallel", "stage_description": "a\u{1b}]0;x\u{7}", "execution_flag": "\u{1b}[2J",
         "scripts": [{"script": "a.sh", "job_name": "a\u{202e}b"}, {"script": "b\u{200b}.sh", "pool": "p\u{2066}"},
                     {"script": "c.sh", "\u{1b}[2Jkey": 1}]}]}).to_string());
    let told = site.rsqlflow(&["config", "validate", evil.to_str().unwrap()]).expect(2).stderr;
    assert!(!told.contains('\u{1b}') && !told.contains('\u{202e}'), "{told:?}");
    for wanted in ["U+001B", "U+202E", "U+200B", "'\\u{2066}'", "\\x1b[2Jkey"] {
        assert!(told.contains(wanted), "{wanted} is not in {told}");
    }
}
