//! Changes to a settings file that leave the rest of it as people wrote it.
//!
//! Pure: text in, text out. Values go where their key is, or to the end of their table; comments, order and everything
//! that is not named stay.

use rsqlflow_config::settings::{FILE_NAME, SettingsError};
use toml_edit::{DocumentMut, Item, Table, value};

/// What stands at the head of a file that is new.
const HEAD: &str = "\
# Settings of rsqlflow for an account. `rsqlflow config defaults` prints every setting with its meaning;
# `rsqlflow init --stack NAME` brings these up to date.

";

/// Settings that are numbers.
const NUMBERS: [&str; 3] = ["heartbeat_seconds", "grace_seconds", "audit_days"];

/// The file with these settings in it; of a new file where there is none.
///
/// # Errors
/// [`SettingsError::Syntax`] where the file is not TOML, or a table's name is taken by a value.
pub(crate) fn updated(file: Option<&str>, settings: &[(&str, String)]) -> Result<String, SettingsError> {
    let syntax = |message: String| SettingsError::Syntax { origin: FILE_NAME.into(), message };
    let mut document: DocumentMut = file
        .unwrap_or_default()
        .parse()
        .map_err(|error: toml_edit::TomlError| syntax(error.message().into()))?;
    for (path, text) in settings {
        let (table, key) = match path.split_once('.') {
            None => (document.as_table_mut(), *path),
            Some((table, key)) => {
                let item = document.entry(table).or_insert_with(|| Item::Table(Table::new()));
                let table = item.as_table_mut().ok_or_else(|| syntax(format!("{table} is not a table")))?;
                (table, key)
            }
        };
        put(table, key, text);
    }
    let head = if file.is_none() { HEAD } else { "" };
    Ok(format!("{head}{document}"))
}

/// Sets a value, a number where there is one by that name; its comments stay.
fn put(table: &mut Table, key: &str, text: &str) {
    let mut new = match text.parse::<i64>() {
        Ok(number) if NUMBERS.contains(&key) => value(number),
        _ => value(text),
    };
    match table.get_mut(key) {
        Some(there) => {
            if let (Some(new), Some(old)) = (new.as_value_mut(), there.as_value()) {
                *new.decor_mut() = old.decor().clone();
            }
            *there = new;
        }
        None => {
            table.insert(key, new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_complete_and_an_old_one_stays_itself() {
        let settings = [
            ("backend", "aws".to_string()),
            ("heartbeat_seconds", "45".into()),
            ("agent.grace_seconds", "20".into()),
            ("tables.config", "prod-config".into()),
            (
                "state_machines.master",
                "arn:aws:states:eu-west-1:123456789012:stateMachine:prod-master".into(),
            ),
        ];
        let new = updated(None, &settings).unwrap();
        let old = "\
# ours
backend = \"local\" # for now
scripts_dir = \"scripts\"

[tables]
job_audit = \"prod-job-audit\" # kept

[agent]
grace_seconds = 3
";
        let changed = updated(Some(old), &settings).unwrap();
        assert_eq!(updated(Some(&changed), &settings).unwrap(), changed);
        assert_eq!(updated(Some(&new), &settings).unwrap(), new);
        insta::assert_snapshot!(format!("{new}----\n{changed}"));
        for file in [&new, &changed] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(FILE_NAME), file).unwrap();
            let loaded = rsqlflow_config::settings::Settings::load(None, dir.path(), []).unwrap();
            assert_eq!((loaded.heartbeat_seconds, loaded.tables.config.as_str()), (45, "prod-config"));
            assert_eq!(loaded.agent.grace_seconds, 20);
        }
        assert!(updated(Some("tables = 1"), &settings).is_err() && updated(Some("= 1"), &settings).is_err());
    }
}
