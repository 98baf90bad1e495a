//! From a script's name to a command line.
//!
//! The file is checked right before it is started: what the config item says was checked long before, on another
//! machine, and never sees symlinks. A script runs by its first line whether or not its executable bit is set, with
//! `sh` where it has none; a `.sql` or `.rsql` file runs with `rsql`. Nothing here goes through a shell: names and
//! arguments reach the script as they are.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rsqlflow_config::job::{JobError, JobRequest};
use rsqlflow_config::names;

/// The kernel reads so much of a script's first line.
/// <https://man7.org/linux/man-pages/man2/execve.2.html>
const FIRST_LINE_MAX: usize = 256;

/// A command line: an absolute program and its arguments.
#[derive(Debug)]
pub(crate) struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
}

/// Why a script does not start.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScriptProblem {
    #[error("the scripts directory {} cannot be opened: {reason}", .path.display())]
    NoDirectory { path: PathBuf, reason: String },
    #[error("script {script} {problem}")]
    BadName { script: String, problem: String },
    #[error("script {script} does not exist in {}", .directory.display())]
    Missing { script: String, directory: PathBuf },
    #[error("script {script} is a symbolic link that leads out of {}", .directory.display())]
    Outside { script: String, directory: PathBuf },
    #[error("script {script} is a directory")]
    Directory { script: String },
    #[error("script {script} is not a regular file")]
    Special { script: String },
    #[error("script {script} cannot be read: {reason}")]
    Unreadable { script: String, reason: String },
    #[error("script {script} has DOS line ends; convert it, for instance with: sed -i 's/\\r$//' {script}")]
    DosLineEnd { script: String },
    #[error("script {script} asks for the interpreter {interpreter}, which does not exist on this host")]
    NoInterpreter { script: String, interpreter: String },
    #[error("script {script} is a binary program without the executable bit; set it with: chmod +x {script}")]
    NotExecutable { script: String },
    #[error("{program} is in none of the directories {path}")]
    NoProgram { program: &'static str, path: String },
}

impl ScriptProblem {
    pub(crate) fn error(&self) -> JobError {
        match self {
            Self::NoDirectory { .. }
            | Self::BadName { .. }
            | Self::Missing { .. }
            | Self::Outside { .. }
            | Self::Directory { .. }
            | Self::Special { .. }
            | Self::Unreadable { .. } => JobError::ScriptNotFound,
            Self::DosLineEnd { .. }
            | Self::NoInterpreter { .. }
            | Self::NotExecutable { .. }
            | Self::NoProgram { .. } => JobError::NotStarted,
        }
    }
}

/// Where scripts and the programs that run them are.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    pub scripts_dir: &'a Path,
    pub lib_dir: &'a Path,
    pub path: &'a str,
}

/// Checks the script and says how it is run.
pub(crate) fn resolve(request: &JobRequest, places: &Places<'_>) -> Result<Launch, ScriptProblem> {
    let script = request.script.clone();
    let (file, path) = open(&script, places.scripts_dir)?;
    let convention = [OsString::from(places.lib_dir), OsString::from(&request.secret_id)];
    let arguments = request.arguments.iter().map(OsString::from);
    if is_sql(&script) {
        find_program("rsql", places.path)?;
        return Ok(Launch {
            program: find_program("sh", places.path)?,
            arguments: [places.lib_dir.join(crate::library::RUN_SQL).into()]
                .into_iter()
                .chain(convention)
                .chain([path.into()])
                .chain(sql_variables(request))
                .collect(),
        });
    }
    let mut arguments: Vec<OsString> = convention.into_iter().chain(arguments).collect();
    let mut first_line = [0; FIRST_LINE_MAX];
    let length = read_start(file, &mut first_line)
        .map_err(|error| ScriptProblem::Unreadable { script: script.clone(), reason: error.to_string() })?;
    let start = &first_line[..length];
    if start.starts_with(b"\x7fELF") {
        use std::os::unix::fs::PermissionsExt;
        let executable = std::fs::metadata(&path).is_ok_and(|data| data.permissions().mode() & 0o111 != 0);
        return if executable {
            Ok(Launch { program: path, arguments })
        } else {
            Err(ScriptProblem::NotExecutable { script })
        };
    }
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.ends_with(b"\r") {
        return Err(ScriptProblem::DosLineEnd { script });
    }
    let (program, option) = match line.strip_prefix(b"#!") {
        Some(line) if !line.trim_ascii().is_empty() => {
            let line = line.trim_ascii();
            let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
            let (interpreter, rest) = line.split_at(end);
            let interpreter = PathBuf::from(OsString::from_vec(interpreter.to_vec()));
            if !interpreter.is_file() {
                let interpreter = interpreter.display().to_string();
                return Err(ScriptProblem::NoInterpreter { script, interpreter });
            }
            let option = rest.trim_ascii();
            (interpreter, (!option.is_empty()).then(|| OsString::from_vec(option.to_vec())))
        }
        _ => (find_program("sh", places.path)?, None),
    };
    arguments.splice(0..0, option.into_iter().chain([path.into_os_string()]));
    Ok(Launch { program, arguments })
}

fn open(script: &str, scripts_dir: &Path) -> Result<(File, PathBuf), ScriptProblem> {
    let named = || script.to_owned();
    if let Some(problem) = names::script_path_problem(script) {
        return Err(ScriptProblem::BadName { script: named(), problem });
    }
    let directory = scripts_dir.canonicalize().map_err(|error| ScriptProblem::NoDirectory {
        path: scripts_dir.to_owned(),
        reason: error.to_string(),
    })?;
    let path = directory.join(script);
    let unreadable =
        |error: std::io::Error| ScriptProblem::Unreadable { script: named(), reason: error.to_string() };
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ScriptProblem::Missing { script: named(), directory });
        }
        Err(error) => return Err(unreadable(error)),
    };
    if !real.starts_with(&directory) {
        return Err(ScriptProblem::Outside { script: named(), directory });
    }
    // Before it is opened: opening a FIFO would wait for its writer.
    let kind = std::fs::metadata(&real).map_err(unreadable)?.file_type();
    if kind.is_dir() {
        return Err(ScriptProblem::Directory { script: named() });
    }
    if !kind.is_file() {
        return Err(ScriptProblem::Special { script: named() });
    }
    Ok((File::open(&real).map_err(unreadable)?, path))
}

fn read_start(mut file: File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

fn is_sql(script: &str) -> bool {
    let extension = Path::new(script).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| ["sql", "rsql"].iter().any(|sql| extension.eq_ignore_ascii_case(sql)))
}

/// A SQL file sees what a shell script sees, as rsql variables: the names of the environment variables that rsql is to
/// import, then its arguments as `:1`, `:2`. Parameters may be secrets, so their values stay out of the arguments.
fn sql_variables(request: &JobRequest) -> Vec<OsString> {
    let ids = ["WORKFLOW_ID", "WORKFLOW_EXECUTION_ID", "JOB_NAME", "ATTEMPT"];
    let names: Vec<&str> = ids.into_iter().chain(request.parameters.keys().map(String::as_str)).collect();
    let numbered = request.arguments.iter().enumerate();
    std::iter::once(OsString::from(names.join(",")))
        .chain(numbered.flat_map(|(at, value)| ["-v".into(), OsString::from(format!("{}={value}", at + 1))]))
        .collect()
}

/// Looks a program up as a shell would. Absolute programs also keep the child on the standard library's fast path.
fn find_program(program: &'static str, path: &str) -> Result<PathBuf, ScriptProblem> {
    use std::os::unix::fs::PermissionsExt;
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| Path::new(directory).join(program))
        .find(|candidate| {
            std::fs::metadata(candidate)
                .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        })
        .ok_or_else(|| ScriptProblem::NoProgram { program, path: path.to_owned() })
}
