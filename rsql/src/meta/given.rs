//! Files whose names hold values that came with the job.
//!
//! Such a value comes from a config item, and who writes items may run no commands and choose no files. A file that is
//! included is run; one that is written to is lost. So with such a value in its name an included file has to be below
//! the working directory (of a job: the scripts directory), and a value may be part of the name of an output file, not
//! of its directory. What a command in backquotes makes of such a value is one as well. What the script sets itself,
//! `-v` and `\gset` included, may name any file, as in psql.

use std::path::{Component, Path, PathBuf};

use crate::lexer::argument::Argument;

/// Why a file may not be included, if it may not. Links are followed first.
pub(super) fn include_problem(argument: &Argument, path: &Path) -> Option<String> {
    if argument.given.is_empty() {
        return None;
    }
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).ok();
    let real: Option<PathBuf> = match path.canonicalize() {
        Ok(real) => Some(real),
        // There is nothing to run; what opens it says so.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(_) => None,
    };
    let below = here.zip(real).is_some_and(|(here, real)| real.starts_with(here) && real.is_file());
    (!below)
        .then(|| "a value that came with the job names a file that is not below the scripts directory".into())
}

/// Why a file may not be written to, if it may not.
pub(super) fn output_problem(argument: &Argument) -> Option<String> {
    if argument.given.is_empty() {
        return None;
    }
    let path = Path::new(&argument.text);
    let climbs = path.components().any(|part| matches!(part, Component::ParentDir));
    let no_directory = !argument.text.contains('/');
    (no_directory || climbs || argument.given.iter().any(|value| value.contains('/'))).then(|| {
        "a value that came with the job may be part of a file's name, not choose its directory; write that in the script"
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(text: &str, given: &[&str]) -> Argument {
        let given = given.iter().map(ToString::to_string).collect();
        Argument { text: text.into(), quoted: false, given }
    }

    #[test]
    fn a_value_of_the_job_names_a_file_and_no_directory() {
        for (text, given) in [("/exports/2026.csv", &["2026"][..]), ("out/a-b", &["a", "b"]), ("/etc/x", &[])]
        {
            assert_eq!(output_problem(&argument(text, given)), None, "{text}");
        }
        for (text, given) in [
            ("load.sh", &["load.sh"][..]),
            ("2026.csv", &["2026"]),
            ("/etc/x", &["/etc/x"]),
            ("out/../x", &[".."]),
            ("out/../../x", &["../../x"]),
            ("out/../x", &[".", "."]),
        ] {
            assert!(output_problem(&argument(text, given)).is_some(), "{text}");
        }
    }

    #[test]
    fn a_value_of_the_job_includes_what_is_below_the_working_directory() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        let given = |path: &Path| include_problem(&argument(&path.display().to_string(), &["x"]), path);
        assert!(given(outside.path()).is_some());
        assert!(given(Path::new("/proc/self/environ")).is_some());
        assert!(given(Path::new("/dev/stdin")).is_some());
        assert!(given(Path::new("../../../../../../../../etc/passwd")).is_some());
        assert_eq!(given(Path::new("Cargo.toml")), None);
        assert_eq!(include_problem(&argument("x", &[]), outside.path()), None);
    }
}
