//! Reading config files and telling everything that is wrong with them.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use rsqlflow_config::names::ParameterNames;
use rsqlflow_config::settings::{Backend, Settings};
use rsqlflow_config::validate::{self, InvalidItem, Problem};
use rsqlflow_config::workflow::Workflow;
use serde::Serialize;

use crate::context::Context;
use crate::error::{CliError, file_name};
use crate::screen::{Screen, Tone, tell};

/// A config file after reading; also what `config validate --json` prints, so the shape is stable.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    /// The file's name.
    pub(super) file: String,
    /// The workflow, where the file names one.
    pub(super) workflow_id: Option<String>,
    /// What was done with it; none where nothing was to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<&'static str>,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
    /// The workflow, where nothing is.
    #[serde(skip)]
    pub(super) workflow: Option<Workflow>,
}

/// Reads and checks files; two of them must not hold the same workflow. That one cannot be read is a problem like any.
pub(super) fn check(files: &[PathBuf], names: &ParameterNames) -> Vec<Checked> {
    let mut checked: Vec<Checked> = Vec::new();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for path in files {
        let mut one = match read(path) {
            Ok(text) => check_text(file_name(path), &text, names),
            Err(error) => unreadable(file_name(path), format!("cannot be read: {error}")),
        };
        if let Some(id) = &one.workflow_id
            && let Some(other) = seen.insert(id.clone(), one.file.clone())
        {
            let message = format!("`{id}` is already the workflow of {other}");
            one.problems.push(Problem { path: "workflow_id".into(), message });
            one.workflow = None;
        }
        checked.push(one);
    }
    checked
}

fn read(path: &Path) -> std::io::Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    }
}

fn unreadable(file: String, message: String) -> Checked {
    let problems = vec![Problem { path: String::new(), message }];
    Checked { file, workflow_id: None, action: None, problems, workflow: None }
}

fn check_text(file: String, text: &str, names: &ParameterNames) -> Checked {
    let whole = |message: String| vec![Problem { path: String::new(), message }];
    let item = match validate::parse(text) {
        Ok(item) => item,
        Err(error) => return unreadable(file, error.to_string()),
    };
    let workflow_id = item.get("workflow_id").and_then(|id| id.as_str()).map(str::to_string);
    match validate::workflow(item, names) {
        Ok(workflow) => {
            Checked { file, workflow_id, action: None, problems: vec![], workflow: Some(workflow) }
        }
        Err(InvalidItem::Problems(problems)) => {
            Checked { file, workflow_id, action: None, problems, workflow: None }
        }
        Err(syntax) => {
            Checked { file, workflow_id, action: None, problems: whole(syntax.to_string()), workflow: None }
        }
    }
}

/// The problems as lines: file, path, what is wrong.
pub(super) fn problems(checked: &[Checked], screen: Screen) -> String {
    let mut text = String::new();
    for (one, problem) in
        checked.iter().flat_map(|one| one.problems.iter().map(move |problem| (one, problem)))
    {
        let file = screen.paint(Tone::Strong, &one.file);
        text.push_str(&format!("{file}: {}\n", problem.to_string().replace('\n', "\n  ")));
    }
    text
}

/// The workflows of the files, when all of them are right; else everything that is wrong is told, to programs as
/// `config validate` tells it, with the `action` that is left undone then.
///
/// # Errors
/// [`CliError::InvalidFiles`].
pub(super) fn workflows(
    files: &[PathBuf],
    context: &Context,
    action: Option<&'static str>,
) -> Result<Vec<(String, Workflow)>, CliError> {
    let mut checked = check(files, &context.settings.parameter_names());
    let wrong = checked.iter().filter(|one| !one.problems.is_empty()).count();
    if wrong > 0 {
        if context.json {
            for one in &mut checked {
                one.action = action;
            }
            context.print_json(&checked)?;
        } else {
            tell(problems(&checked, context.err).trim_end());
        }
        return Err(CliError::InvalidFiles { wrong, files: counted(files.len(), "file") });
    }
    Ok(checked.into_iter().filter_map(|one| Some((one.file, one.workflow?))).collect())
}

/// Scripts that the scripts directory does not have, where it is on this machine. Not a mistake: the script may be
/// written after the item.
pub(super) fn missing_scripts(workflow: &Workflow, settings: &Settings) -> Vec<String> {
    if settings.backend != Backend::Local || !settings.scripts_dir.is_dir() {
        return vec![];
    }
    let scripts =
        workflow.workflow_stages.iter().filter(|stage| stage.enabled()).flat_map(|stage| &stage.scripts);
    scripts
        .map(|script| script.path())
        .filter(|path| !settings.scripts_dir.join(path).is_file())
        .map(str::to_string)
        .collect()
}

/// `1 file`, `2 files`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_told_with_all_its_mistakes() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let good = "workflow_id: nightly\nworkflow_stages:\n- {execution_type: parallel, scripts: [a.sh]}\n";
        let files = [
            write("good.yaml", good),
            write("again.yaml", good),
            write(
                "bad.yaml",
                "workflow_id: n\nworkflow_stage: []\nworkflow_stages:\n- {scripts: ['../a']}\n",
            ),
            write("syntax.json", "{\"workflow_id\": "),
        ];
        let checked = check(&files, &ParameterNames::default());
        let place = format!("{}/", dir.path().display());
        insta::assert_snapshot!(problems(&checked, Screen::plain()).replace(&place, ""));
        let json = serde_json::to_string_pretty(&checked[2]).unwrap();
        insta::assert_snapshot!(json.replace(&place, ""));
        let wrong: Vec<bool> = checked.iter().map(|one| !one.problems.is_empty()).collect();
        assert_eq!(wrong, [false, true, true, true]);
        let missing = &check(&[place.into()], &ParameterNames::default())[0];
        assert!(missing.problems[0].message.starts_with("cannot be read: "), "{missing:?}");
    }
}
