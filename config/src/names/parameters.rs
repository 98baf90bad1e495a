//! Which names parameters may have. They become environment variables, and items are not trusted.
//!
//! The rule: **a parameter's name is in lower case (a letter, then letters, digits and `_`), or trusted settings list
//! it.** Variables that change what a program does are in capitals by a custom as old as shells: a rule that refuses
//! capitals refuses `LD_PRELOAD`, `PYTHONWARNINGS`, `TAR_OPTIONS` and those that a later version of some program will
//! invent. A list of forbidden names was there before, and it had holes.
//!
//! A few programs obey names in lower case. These are refused as well, unless they are listed: that part is a list of
//! what is known ([`OBEYED`] and the two below it), and docs/security.md says so.
//!
//! [`ParameterNames::problem`] is the only place that decides. It is asked when an item is stored, by `run --param`, by
//! the trigger, and by the agent when it takes a job and before every attempt: the agent enforces, the others tell early.

use std::collections::BTreeSet;

/// Longest name of a parameter.
const NAME_MAX: usize = 128;

/// Variables of the script convention. A script relies on them, so not even settings can give them away.
const CONVENTION: [&str; 13] = [
    "ATTEMPT",
    "DB",
    "HOME",
    "HOST",
    "JOB_NAME",
    "PASSWORD",
    "PATH",
    "PORT",
    "RSPASSWORD",
    "RSPORT",
    "USER",
    "WORKFLOW_EXECUTION_ID",
    "WORKFLOW_ID",
];

/// Families of them.
const CONVENTION_PREFIXES: [&str; 2] = ["RSQLFLOW_", "RSQL_"];

/// Names in lower case that programs are known to obey.
const OBEYED: [&str; 22] = [
    // pyenv and its kin put it into what a shell evaluates at its start.
    "shell",
    // bash: job control, history, end of input.
    "auto_resume",
    "histchars",
    "ignoreeof",
    // rc and es, whose search paths and field separators are in lower case.
    "cdpath",
    "ifs",
    "path",
    // mailx takes a variable that is not set from its environment: which program sends, to whom, with what file.
    "autobcc",
    "autocc",
    "expandaddr",
    "folder",
    "from",
    "mta",
    "outfolder",
    "record",
    "replyto",
    "sendmail",
    "signature",
    "smtp",
    // TeX takes every variable of texmf.cnf: which files may be written.
    "openin_any",
    "openout_any",
    "parse_first_line",
];

/// Beginnings of such names: settings of autoconf, .NET, Electron, fish, Spring's loggers, npm and its kin, rvm, TeX's
/// `shell_escape`, Spring; functions of rc and es; properties of MSBuild, which takes them in any case: files to import
/// (`custombefore...`, `customafter...`, `directorybuild...`), its own directories (`msbuild...`), NuGet's (`nuget...`).
const OBEYED_PREFIXES: [&str; 21] = [
    "ac_",
    "aspnetcore_",
    "bun_",
    "complus_",
    "coreclr_",
    "customafter",
    "custombefore",
    "directorybuild",
    "dotnet_",
    "electron_",
    "fish_",
    "fn_",
    "logging_config",
    "msbuild",
    "npm_",
    "nuget",
    "pnpm_",
    "rvm_",
    "shell_escape",
    "spring_",
    "yarn_",
];

/// Parts of such names: `http_proxy`, `no_proxy`, `http_proxy_user` and all of that kind; what autoconf's scripts take for
/// granted (`ac_cv_prog_CC`, `gl_cv_...`).
const OBEYED_PARTS: [&str; 2] = ["_proxy", "_cv_"];

/// What parameters may be called here: the rule, and what the settings' `parameter_names` list besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParameterNames {
    listed: BTreeSet<String>,
    set_by_host: BTreeSet<String>,
}

impl ParameterNames {
    /// The rule, and these names.
    pub fn listing(names: impl IntoIterator<Item = String>) -> Self {
        Self { listed: names.into_iter().collect(), set_by_host: BTreeSet::new() }
    }

    /// The same, without the variables that a host sets itself (`agent.environment`): an item does not change those.
    #[must_use]
    pub fn but_not(mut self, set_by_host: impl IntoIterator<Item = String>) -> Self {
        self.set_by_host = set_by_host.into_iter().collect();
        self
    }

    /// Whether trusted settings list the name.
    pub fn lists(&self, name: &str) -> bool {
        self.listed.contains(name)
    }

    /// Why `name` cannot be the name of a parameter, if it cannot.
    pub fn problem(&self, name: &str) -> Option<String> {
        let problem = shape_problem(name).or_else(|| convention_problem(name));
        if problem.is_some() || self.lists(name) {
            return problem;
        }
        let list =
            "list it in `parameter_names` of rsqlflow.toml, on the host as well, and restart its agent";
        if self.set_by_host.contains(name) {
            return Some(format!("is set by the host itself (agent.environment); choose another, or {list}"));
        }
        if obeyed(name) {
            return Some(format!("is a name that some programs obey; choose another, or {list}"));
        }
        if in_lower_case(name) {
            return None;
        }
        let lower = name.trim_start_matches('_').to_ascii_lowercase();
        let rename = if in_lower_case(&lower) && !obeyed(&lower) {
            format!("rename it to `{lower}`, here and in the scripts")
        } else {
            "choose another".into()
        };
        Some(format!("is not in lower case, and could mean something to a program; {rename}, or {list}"))
    }

    /// What is wrong with the list itself: names that settings cannot give to items.
    pub fn problems(&self) -> Vec<String> {
        let wrong = |name: &String| {
            let problem = shape_problem(name).or_else(|| convention_problem(name))?;
            Some(format!("`{}` {problem}", name.escape_debug()))
        };
        self.listed.iter().filter_map(wrong).collect()
    }
}

/// Whether a name can be shown as it is: it may come from anyone.
pub(crate) fn is_word(name: &str) -> bool {
    shape_problem(name).is_none()
}

fn shape_problem(name: &str) -> Option<String> {
    if name.len() > NAME_MAX {
        return Some(format!("has {} bytes, at most {NAME_MAX} are allowed", name.len()));
    }
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts_well && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    Some("is not a name for an environment variable; use letters, digits and _, no digit first".into())
}

fn convention_problem(name: &str) -> Option<String> {
    let ours =
        CONVENTION.contains(&name) || CONVENTION_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    ours.then(|| "is a variable that every script relies on; choose another name".into())
}

fn in_lower_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn obeyed(name: &str) -> bool {
    OBEYED.contains(&name)
        || OBEYED_PARTS.iter().any(|part| name.contains(part))
        || OBEYED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_lower_case_is_a_parameter() {
        let names = ParameterNames::default();
        for good in
            ["run_date", "day", "x", "s3_bucket", "load_date2", "proxy", "record_count", "npm", "path_in"]
        {
            assert_eq!(names.problem(good), None, "{good}");
        }
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        let names = ParameterNames::listing(["AS_LISTED".into()]);
        let said = [
            "RUN_DATE",
            "RunDate",
            "_x",
            "LD_PRELOAD",
            "HTTP_PROXY",
            "http_proxy",
            "path",
            "PATH",
            "RSQLFLOW_X",
            "1a",
            "a-b",
            "größe",
            "",
        ];
        let said = said.map(|name| format!("{name}: {}", names.problem(name).unwrap_or_default()));
        insta::assert_snapshot!(said.join("\n"));
        assert_eq!(names.problem("AS_LISTED"), None);
        let of_host = names.clone().but_not(["region".into(), "AS_LISTED".into()]);
        assert_eq!(of_host.problem("AS_LISTED"), None);
        assert!(of_host.problem("region").unwrap().starts_with("is set by the host itself"));
        assert!(names.problem(&"x".repeat(129)).unwrap().contains("129 bytes"));
    }

    #[test]
    fn settings_cannot_give_away_what_scripts_rely_on() {
        let listed =
            ["PATH", "HOST", "RSQLFLOW_SECRET_ID", "WORKFLOW_EXECUTION_ID", "a-b", "TNS_ADMIN", "http_proxy"];
        let names = ParameterNames::listing(listed.map(String::from));
        assert_eq!(names.problems().len(), 5, "{:?}", names.problems());
        for name in ["PATH", "HOST", "RSQLFLOW_SECRET_ID", "WORKFLOW_EXECUTION_ID"] {
            assert!(names.problem(name).is_some(), "{name}");
        }
        for name in ["TNS_ADMIN", "http_proxy"] {
            assert_eq!(names.problem(name), None, "{name}");
        }
    }
}
