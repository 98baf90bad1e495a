//! A site: one temporary directory with its scripts, its settings and its data, and the real `rsqlflow` run in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::processes::{self, Process};

/// A directory with everything a run needs.
pub struct Site {
    dir: tempfile::TempDir,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts the exit code, showing everything where it differs.
    ///
    /// # Panics
    /// When it differs.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert!(self.code == code, "exit {} instead of {code}\n{}\n{}", self.code, self.stdout, self.stderr);
        self
    }

    /// The standard output as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}\n{}", self.stdout, self.stderr))
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started.
pub fn run(command: &mut Command) -> Ran {
    Ran::from(command.stdin(Stdio::null()).output().expect("the command starts"))
}

/// The directory of the binaries under test: that of this program, without `deps`.
///
/// # Panics
/// When they have not been built.
pub fn binaries() -> PathBuf {
    let program = std::env::current_exe().expect("a program knows its own path");
    let mut dir = program.parent().expect("a directory").to_path_buf();
    if dir.ends_with("deps") {
        dir.pop();
    }
    assert!(
        dir.join("rsqlflow").exists(),
        "the binaries are not built: run `cargo build` (`make test` does)"
    );
    dir
}

impl Site {
    /// An empty site: `scripts/` for scripts, beats every second so that tests of silence are quick.
    ///
    /// # Panics
    /// When the directory cannot be made.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("rsqlflow-e2e-").tempdir().unwrap();
        let site = Self { dir };
        fs::create_dir(site.path("scripts")).unwrap();
        fs::write(
            site.path("rsqlflow.toml"),
            "scripts_dir = \"scripts\"\nheartbeat_seconds = 3\n[agent]\ngrace_seconds = 1\n",
        )
        .unwrap();
        site
    }

    /// Replaces the settings; `scripts_dir` is told already.
    ///
    /// # Panics
    /// When it cannot.
    pub fn settings(&self, toml: &str) {
        self.file("rsqlflow.toml", &format!("scripts_dir = \"scripts\"\n{toml}"));
    }

    /// The processes of the site, without `known` ones.
    pub fn processes(&self, known: &[u32]) -> Vec<Process> {
        processes::of_site(self.dir.path(), known)
    }

    /// A path in the site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The site's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.path(".rsqlflow")
    }

    /// Copies a folder of the project's own sample scripts.
    ///
    /// # Panics
    /// When it cannot.
    pub fn sample_scripts(&self, folder: &str) {
        let from = project().join("rsql_scripts").join(folder);
        let to = self.path("scripts").join(folder);
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }

    /// Writes a script, executable.
    ///
    /// # Panics
    /// When it cannot.
    pub fn script(&self, name: &str, text: &str) {
        let path = self.path("scripts").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Writes a file of the site.
    ///
    /// # Panics
    /// When it cannot.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// `rsqlflow` with these arguments, to be run in the site.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binaries().join("rsqlflow"));
        command.args(arguments).current_dir(self.dir.path()).env("NO_COLOR", "1");
        for (name, _) in std::env::vars() {
            if name.starts_with("RSQLFLOW_") || name.starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs `rsqlflow` with these arguments.
    pub fn rsqlflow(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    /// Stores a workflow, given as JSON.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn put(&self, workflow: &Value) {
        let file = self.file("item.json", &workflow.to_string());
        self.rsqlflow(&["config", "put", file.to_str().unwrap()]).expect(0);
    }

    /// A run's status as JSON.
    ///
    /// # Panics
    /// When it cannot be had.
    #[track_caller]
    pub fn status(&self, run: &str) -> Value {
        self.rsqlflow(&["status", run, "--json"]).expect(0).json()
    }

    /// The lines that scripts have appended to a file of the site, for counting what ran.
    pub fn lines(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.path(name)).unwrap_or_default().lines().map(str::to_string).collect()
    }
}

/// Variable that keeps the directories of tests.
const KEEP: &str = "RSQLFLOW_TESTS_KEEP";

impl Drop for Site {
    /// Run as root, the private warehouse's files are outside the site; its server has ended with whoever started it.
    fn drop(&mut self) {
        if std::env::var_os(KEEP).is_some() {
            self.dir.disable_cleanup(true);
            eprintln!("kept: {}", self.dir.path().display());
        } else if std::thread::panicking() {
            eprintln!("{KEEP}=1 keeps the directory");
        }
        if let Ok(files) = fs::read_to_string(self.data_dir().join("warehouse/files"))
            && files.contains("rsqlflow-warehouse-")
        {
            let _ = fs::remove_dir_all(files.trim());
        }
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

/// The project's root.
///
/// # Panics
/// Never in a checkout.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}
