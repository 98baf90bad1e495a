//! From a script's name to a command line.
//!
//! The file is checked right before it is started: what the config item says was checked long before, on another
//! machine, and never sees symlinks. What others could have written is refused ([`modes`]), and what the kernel would
//! refuse with a number is told in words ([`first_line`], [`elf`]).
//!
//! A script runs by its first line whether or not its executable bit is set, with `sh` where it has none; a `.sql` or
//! `.rsql` file runs with `rsql`. Nothing here goes through a shell: names and arguments reach the script as they are.

mod acl;
mod elf;
mod first_line;
mod group;
mod modes;
mod problem;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rsqlflow_config::job::JobRequest;
use rsqlflow_config::names;
use rsqlflow_supervisor::supervise::passes;

pub use modes::Trusted;
pub(crate) use problem::ScriptProblem;

use crate::config::AgentConfig;

use elf::ElfProblem;
use first_line::{FIRST_LINE_MAX, Interpreter};

/// A command line: an absolute program and its arguments.
#[derive(Debug)]
pub(crate) struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
}

/// Where scripts and the programs that run them are.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    pub scripts_dir: &'a Path,
    pub lib_dir: &'a Path,
    pub path: &'a str,
    /// Who may change scripts; everyone where there is nobody.
    pub trusted: Option<Trusted>,
}

impl<'a> Places<'a> {
    pub(crate) fn of(config: &'a AgentConfig, lib_dir: &'a Path, trusted: Trusted) -> Self {
        Self {
            scripts_dir: &config.scripts_dir,
            lib_dir,
            path: &config.path,
            trusted: config.strict_modes.then_some(trusted),
        }
    }
}

/// Checks the script and says how it is run.
pub(crate) fn resolve(request: &JobRequest, places: &Places<'_>) -> Result<Launch, ScriptProblem> {
    let Found { path, kind } = look(&request.script, places)?;
    let convention = [OsString::from(places.lib_dir), OsString::from(&request.secret_id)];
    let given = request.arguments.iter().map(OsString::from);
    Ok(match kind {
        Kind::Sql { sh } => Launch {
            program: sh,
            arguments: [places.lib_dir.join(crate::library::RUN_SQL).into()]
                .into_iter()
                .chain(convention)
                .chain([path.into()])
                .chain(sql_variables(request))
                .collect(),
        },
        Kind::Program => Launch { program: path, arguments: convention.into_iter().chain(given).collect() },
        Kind::Script { interpreter: (program, option) } => Launch {
            program,
            arguments: option
                .into_iter()
                .chain([path.into_os_string()])
                .chain(convention)
                .chain(given)
                .collect(),
        },
    })
}

/// Why an agent of that user would not start a script now; `None` where it would.
pub fn script_problem(config: &AgentConfig, user: Trusted, script: &str) -> Option<String> {
    look(script, &Places::of(config, Path::new(""), user)).err().map(|problem| problem.to_string())
}

/// Why an agent of that user would start no script at all.
pub fn scripts_dir_problem(config: &AgentConfig, user: Trusted) -> Option<String> {
    let path = config.scripts_dir.clone();
    let directory = match path.canonicalize() {
        Ok(directory) => directory,
        Err(error) => {
            return Some(ScriptProblem::NoDirectory { path, reason: error.to_string() }.to_string());
        }
    };
    if !directory.is_dir() {
        return Some(format!("{} is no directory", path.display()));
    }
    let modes = user.check_above(&directory).err().filter(|_| config.strict_modes);
    modes.map(|problem| format!("{problem} (agent.strict_modes)"))
}

/// A script that can be started.
pub(crate) struct Found {
    /// By the name that was asked for, in the scripts directory's real place.
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    Sql { sh: PathBuf },
    Program,
    Script { interpreter: Interpreter },
}

/// Everything about a script that can be told before it is started.
pub(crate) fn look(script: &str, places: &Places<'_>) -> Result<Found, ScriptProblem> {
    let (file, path) = open(script, places)?;
    let named = || script.to_owned();
    let mut start = [0; FIRST_LINE_MAX + 1];
    let length = read_start(&file, &mut start).map_err(|error| ScriptProblem::unreadable(script, &error))?;
    let start = &start[..length];
    if start.is_empty() {
        return Err(ScriptProblem::Empty { script: named() });
    }
    let kind = if is_sql(script) {
        find_program("rsql", places.path)?;
        Kind::Sql { sh: find_program("sh", places.path)? }
    } else if start.starts_with(b"\x7fELF") {
        check_program(script, &path, &file)?;
        Kind::Program
    } else {
        let interpreter = match first_line::interpreter(script, &path, start, places.path)? {
            Some(interpreter) => interpreter,
            None => (find_program("sh", places.path)?, None),
        };
        Kind::Script { interpreter }
    };
    Ok(Found { path, kind })
}

fn check_program(script: &str, path: &Path, file: &File) -> Result<(), ScriptProblem> {
    use std::os::unix::fs::PermissionsExt;
    let script = script.to_owned();
    if !std::fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o111 != 0) {
        return Err(ScriptProblem::NotExecutable { script });
    }
    elf::check(file).map_err(|problem| match problem {
        ElfProblem::Broken(problem) => ScriptProblem::BrokenProgram { script, problem },
        ElfProblem::OtherArchitecture(wanted) => {
            ScriptProblem::OtherArchitecture { script, wanted, host: std::env::consts::ARCH }
        }
        ElfProblem::NoLoader(loader) => ScriptProblem::NoLoader { script, loader },
    })
}

fn open(script: &str, places: &Places<'_>) -> Result<(File, PathBuf), ScriptProblem> {
    let named = || script.to_owned();
    if let Some(problem) = names::script_path_problem(script) {
        return Err(ScriptProblem::BadName { script: named(), problem });
    }
    let scripts_dir = places.scripts_dir;
    let directory = scripts_dir.canonicalize().map_err(|error| match passes(&error) {
        true => ScriptProblem::unreadable(script, &error),
        false => ScriptProblem::NoDirectory { path: scripts_dir.to_owned(), reason: error.to_string() },
    })?;
    let path = directory.join(script);
    let unreadable = |error: std::io::Error| ScriptProblem::unreadable(script, &error);
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
    if let Some(trusted) = places.trusted {
        trusted
            .check_above(&directory)
            .and_then(|()| trusted.check_below(&directory, &path, &real))
            .map_err(|problem| ScriptProblem::Modes { script: named(), problem })?;
    }
    Ok((File::open(&real).map_err(unreadable)?, path))
}

fn read_start(mut file: &File, buffer: &mut [u8]) -> std::io::Result<usize> {
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

/// Absolute programs also keep the child on the standard library's fast path.
fn find_program(program: &'static str, path: &str) -> Result<PathBuf, ScriptProblem> {
    first_line::find(program, path).ok_or_else(|| ScriptProblem::NoProgram { program, path: path.to_owned() })
}
