//! What a script's first line says about how to run it, as the kernel reads it
//! (<https://man7.org/linux/man-pages/man2/execve.2.html>, "Interpreter scripts"): `#!`, a program, and whatever
//! follows it as a single argument. What the kernel would only answer with "No such file or directory" is told here.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::problem::ScriptProblem;

/// The kernel reads so much of a script's first line.
pub(super) const FIRST_LINE_MAX: usize = 256;

/// An interpreter and its argument.
pub(super) type Interpreter = (PathBuf, Option<OsString>);

/// Reads the `start` of a script, [`FIRST_LINE_MAX`] bytes and one more where it is longer than that. `None` without
/// an interpreter of its own. `file` is the script's whole path.
pub(super) fn interpreter(
    script: &str,
    file: &Path,
    start: &[u8],
    path: &str,
) -> Result<Option<Interpreter>, ScriptProblem> {
    let script = || script.to_owned();
    let end = start.iter().position(|byte| *byte == b'\n');
    let line = &start[..end.unwrap_or(start.len())];
    if line.ends_with(b"\r") {
        return Err(ScriptProblem::DosLineEnd { script: script(), path: file.to_owned() });
    }
    let Some(words) = line.strip_prefix(b"#!").map(<[u8]>::trim_ascii).filter(|words| !words.is_empty())
    else {
        return Ok(None);
    };
    if line.len() >= FIRST_LINE_MAX {
        return Err(ScriptProblem::FirstLineTooLong { script: script(), max: FIRST_LINE_MAX - 1 });
    }
    let end = words.iter().position(u8::is_ascii_whitespace).unwrap_or(words.len());
    let (interpreter, rest) = words.split_at(end);
    let program = PathBuf::from(OsString::from_vec(interpreter.to_vec()));
    let interpreter = program.display().to_string();
    if !program.is_absolute() {
        return Err(ScriptProblem::RelativeInterpreter { script: script(), interpreter });
    }
    match std::fs::metadata(&program) {
        Ok(data) if !data.is_file() || data.permissions().mode() & 0o111 == 0 => {
            return Err(ScriptProblem::InterpreterNotExecutable { script: script(), interpreter });
        }
        Ok(_) => {}
        Err(_) => return Err(ScriptProblem::NoInterpreter { script: script(), interpreter }),
    }
    let argument = rest.trim_ascii();
    if program.file_name().is_some_and(|name| name == "env") {
        check_env(&script(), &interpreter, &String::from_utf8_lossy(argument), path)?;
    }
    Ok(Some((program, (!argument.is_empty()).then(|| OsString::from_vec(argument.to_vec())))))
}

/// `env NAME`: whether NAME is on the path, as far as that can be read without being `env`.
fn check_env(script: &str, env: &str, argument: &str, path: &str) -> Result<(), ScriptProblem> {
    let words = match argument.strip_prefix("-S") {
        // Quotes and variables are env's own affair, and so are more options.
        Some(words) if words.contains(['"', '\'', '\\', '$', '#']) => return Ok(()),
        Some(words) => words,
        None if argument.starts_with('-') => return Ok(()),
        None if argument.contains(char::is_whitespace) => {
            let (script, env, words) = (script.to_owned(), env.to_owned(), argument.to_owned());
            return Err(ScriptProblem::EnvWithWords { script, env, words });
        }
        None => argument,
    };
    let mut words = words.split_ascii_whitespace();
    let Some(program) = words.find(|word| !word.contains('=')) else { return Ok(()) };
    if program.starts_with('-') || program.contains('/') || find(program, path).is_some() {
        return Ok(());
    }
    let (script, program, path) = (script.to_owned(), program.to_owned(), path.to_owned());
    Err(ScriptProblem::NoEnvProgram { script, program, path })
}

/// Looks a program up as a shell would.
pub(super) fn find(program: &str, path: &str) -> Option<PathBuf> {
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| Path::new(directory).join(program))
        .find(|candidate| {
            std::fs::metadata(candidate)
                .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(start: &str) -> Result<Option<Interpreter>, ScriptProblem> {
        interpreter("x", Path::new("/srv/x"), start.as_bytes(), "/usr/bin:/bin")
    }

    fn runs(start: &str) -> Option<(String, Option<String>)> {
        let text = |argument: OsString| argument.into_string().unwrap();
        read(start).unwrap().map(|(program, argument)| (program.display().to_string(), argument.map(text)))
    }

    #[test]
    fn first_lines() {
        for none in ["", "echo x\n", "#!\n", "#! \t\necho", "# !/bin/sh\n", "\u{feff}#!/bin/sh\n"] {
            assert_eq!(runs(none), None, "{none:?}");
        }
        let sh = |argument: Option<&str>| Some(("/bin/sh".to_owned(), argument.map(str::to_owned)));
        assert_eq!(runs("#!/bin/sh"), sh(None));
        assert_eq!(runs("#! /bin/sh \nx"), sh(None));
        assert_eq!(runs("#!/bin/sh\t-e -u \nx"), sh(Some("-e -u")));
        let env = |argument: &str| Some(("/usr/bin/env".to_owned(), Some(argument.to_owned())));
        for fine in ["sh", "-S sh -e", "-S A=b sh", "-S \"${X}\"", "-i sh", "/bin/sh", "-S -i nonesuch"] {
            assert_eq!(runs(&format!("#!/usr/bin/env {fine}\n")), env(fine));
        }
    }

    #[test]
    fn problems_name_what_is_missing() {
        let mut report = String::new();
        let long = format!("#!/bin/sh {}", "x".repeat(300));
        let starts = [
            "#!/bin/sh\r\n",
            "echo\r\n",
            &long[..=FIRST_LINE_MAX],
            "#!/opt/none/bash\n",
            "#!bash\n",
            "#!/etc/passwd\n",
            "#!/etc\n",
            "#!/usr/bin/env nonesuch\n",
            "#!/usr/bin/env sh -e\n",
            "#!/usr/bin/env -S A=b nonesuch -x\n",
        ];
        for start in starts {
            report.push_str(&format!("{}\n", read(start).unwrap_err()));
        }
        insta::assert_snapshot!(report);
        assert_eq!(runs(&format!("echo {}", "x".repeat(300))), None, "only what the kernel reads must fit");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(start in prop::collection::vec(any::<u8>(), 0..=FIRST_LINE_MAX + 1)) {
            let _ = interpreter("x", Path::new("/srv/x"), &start, "/bin");
            let _ = interpreter("x", Path::new("/srv/x"), &[b"#!/usr/bin/env ", &start[..]].concat(), "/bin");
        }
    }
}
