//! The scripts directory, and each script in it as it would be checked before its start.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rsqlflow_agent::{AgentConfig, Trusted, script_problem, scripts_dir_problem};

use super::Check;

/// Most files that are looked at, and so deep.
const FILES_MAX: usize = 2000;
const DEPTH_MAX: usize = 8;

/// So many of those that would not start are named.
const NAMED: usize = 3;

/// Endings of files that are meant to be run, whatever their mode.
const ENDINGS: [&str; 7] = ["sh", "bash", "ksh", "sql", "rsql", "py", "pl"];

pub(super) fn examine(config: &AgentConfig) -> Vec<Check> {
    const NAME: &str = "scripts directory";
    let user = agents_user(&config.data_dir);
    if let Some(problem) = scripts_dir_problem(config, user) {
        return vec![Check::fail(NAME, problem, "scripts_dir in the settings says where it is")];
    }
    let shown = config.scripts_dir.display();
    let strict = if config.strict_modes { "" } else { "; agent.strict_modes is off" };
    let directory = Check::ok(NAME, format!("{shown}{strict}"));
    let mut scripts = Vec::new();
    collect(&config.scripts_dir, Path::new(""), 0, &mut scripts);
    scripts.sort_unstable();
    vec![directory, judge(&scripts, |script| script_problem(config, user, script))]
}

/// Root may ask about an agent that is not root: its data directory belongs to it.
fn agents_user(data_dir: &Path) -> Trusted {
    let own = Trusted::own();
    match std::fs::metadata(data_dir) {
        Ok(data) if own.user == 0 => Trusted { user: data.uid(), group: data.gid() },
        _ => own,
    }
}

fn judge(scripts: &[String], problem: impl Fn(&str) -> Option<String>) -> Check {
    const NAME: &str = "scripts";
    let problems: Vec<String> = scripts.iter().filter_map(|script| problem(script)).collect();
    let count = scripts.len();
    if problems.is_empty() {
        return Check::ok(NAME, format!("{count} can be started"));
    }
    let more = problems.len().saturating_sub(NAMED);
    let mut message = format!("{} of {count} cannot be started: ", problems.len());
    message.push_str(&problems[..problems.len().min(NAMED)].join("; "));
    if more > 0 {
        message.push_str(&format!("; and {more} more"));
    }
    Check::warn(NAME, message, "repair them as it says; jobs that name them fail with Rsql.NotStarted")
}

/// What looks like a script: it can be executed, or is called like one. Hidden files are none.
fn collect(directory: &Path, below: &Path, depth: usize, scripts: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(directory.join(below)) else { return };
    for entry in entries.flatten() {
        if scripts.len() >= FILES_MAX {
            return;
        }
        let name = below.join(entry.file_name());
        let Some(text) = name.to_str() else { continue };
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // Directories are not entered through links, which may lead anywhere.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if depth < DEPTH_MAX {
                collect(directory, &name, depth + 1, scripts);
            }
            continue;
        }
        let Ok(data) = std::fs::metadata(directory.join(&name)) else { continue };
        let ending = name.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let looks_like_one = ENDINGS.contains(&ending) || data.permissions().mode() & 0o111 != 0;
        if data.is_file() && looks_like_one {
            scripts.push(text.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_are_named() {
        let scripts = ["a.sh", "b.sh", "c.sh", "d.sh", "e.sh"].map(str::to_owned);
        let none = judge(&scripts, |_| None);
        let some = judge(&scripts, |script| (script != "b.sh").then(|| format!("script {script} is empty")));
        insta::assert_snapshot!(format!("{}\n{}", none.message, some.message));
    }

    #[test]
    fn what_looks_like_a_script_is_found() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etl/.git")).unwrap();
        for name in ["a.sh", "etl/b.sql", "etl/.git/c.sh", "README.md", ".hidden.sh", "etl/tool"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path().join("etl/tool"), mode).unwrap();
        std::os::unix::fs::symlink("..", dir.path().join("etl/up")).unwrap();
        let mut found = Vec::new();
        collect(dir.path(), Path::new(""), 0, &mut found);
        found.sort_unstable();
        assert_eq!(found, ["a.sh", "etl/b.sql", "etl/tool"]);
    }
}
