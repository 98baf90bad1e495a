//! The CloudFormation template of `deploy/`, with the files in it that it names.
//!
//! The state machines go in as they lie in `statemachines/`, so what an account runs is what the tests run. The one
//! difference is the partition in the ARNs of integrations, `aws` in the files, which the stack puts in. The result is
//! long YAML with its comments, or the same as JSON.

use serde_json::Value;

/// The template as it is written.
const SOURCE: &str = include_str!("../../deploy/template.yaml");

/// The files that the template may name.
const FILES: [(&str, &str); 4] = [
    ("statemachines/sequential.asl.json", include_str!("../../statemachines/sequential.asl.json")),
    ("statemachines/parallel.asl.json", include_str!("../../statemachines/parallel.asl.json")),
    ("statemachines/master.asl.json", include_str!("../../statemachines/master.asl.json")),
    ("deploy/run-script.ssm.json", include_str!("../../deploy/run-script.ssm.json")),
];

/// How the ARNs of integrations begin: in the files, and in the template.
const PARTITION: (&str, &str) = ("\"arn:aws:states:::", "\"arn:${AWS::Partition}:states:::");

/// Why the template cannot be rendered: a mistake in `deploy/`, which a test finds.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TemplateError {
    /// A name that is none of [`FILES`].
    #[error("the template names the file {0}, which is not part of this program")]
    UnknownFile(String),
    /// What came out is not YAML.
    #[error("the template is not YAML")]
    Syntax(#[from] serde_saphyr::Error),
}

/// The template as YAML.
///
/// `KEY: !text FILE` becomes a text that is the file, for `Fn::Sub`, `KEY: !json FILE` the object that the file holds:
/// JSON, indented, is YAML.
///
/// # Errors
/// [`TemplateError::UnknownFile`].
pub(crate) fn yaml() -> Result<String, TemplateError> {
    let mut rendered = String::with_capacity(2 * SOURCE.len());
    for line in SOURCE.lines() {
        let named = [(": !text ", ": |"), (": !json ", ":")]
            .iter()
            .find_map(|(tag, put)| line.split_once(tag).map(|(key, file)| (key, *put, file)));
        let Some((key, put, file)) = named else {
            rendered.push_str(line);
            rendered.push('\n');
            continue;
        };
        let known = FILES.iter().find(|(name, _)| *name == file);
        let (_, text) = known.ok_or_else(|| TemplateError::UnknownFile(file.into()))?;
        rendered.push_str(&format!("{key}{put}\n"));
        let depth = key.len() - key.trim_start().len() + 2;
        for line in text.lines() {
            let line = line.replace(PARTITION.0, PARTITION.1);
            rendered.push_str(&format!("{:depth$}{line}\n", ""));
        }
    }
    Ok(rendered)
}

/// The template as a value.
///
/// # Errors
/// Any [`TemplateError`].
pub(crate) fn value() -> Result<Value, TemplateError> {
    Ok(serde_saphyr::from_str(&yaml()?)?)
}

#[cfg(test)]
mod permissions;
#[cfg(test)]
mod tests;
