//! What every command gets: the settings, where data goes, and the way to the backend.

use std::path::{Path, PathBuf};

use rsqlflow_config::settings::Settings;
use rsqlflow_config::visible;
use serde::Serialize;

use crate::args::Global;
use crate::backend::{Backend, Need};
use crate::error::CliError;
use crate::screen::{Screen, Tone, for_people, print_as_is, tell};

/// What every command gets.
pub(crate) struct Context {
    /// Everything that can be set.
    pub(crate) settings: Settings,
    /// Directory of the embedded default's state, absolute.
    pub(crate) data_dir: PathBuf,
    /// Whether data is printed as JSON.
    pub(crate) json: bool,
    /// Standard output.
    pub(crate) out: Screen,
    /// Standard error.
    pub(crate) err: Screen,
}

impl Context {
    /// Loads the settings from the file, the working directory and the environment.
    ///
    /// # Errors
    /// [`CliError::Settings`] with everything that is wrong with them.
    pub(crate) fn load(global: &Global) -> Result<Self, CliError> {
        Self::with_file(global, global.settings.as_deref())
    }

    /// For a settings file that is yet to be written: the defaults and the environment, and no other file.
    ///
    /// # Errors
    /// As of [`Context::load`].
    pub(crate) fn without_file(global: &Global) -> Result<Self, CliError> {
        Self::with_file(global, Some(Path::new("/dev/null")))
    }

    /// For commands that settings only help: where the settings do not hold, the defaults without a directory of scripts.
    ///
    /// # Errors
    /// When there is no working directory.
    pub(crate) fn lenient(global: &Global) -> Result<Self, CliError> {
        if let Ok(context) = Self::load(global) {
            return Ok(context);
        }
        let defaults = Settings::load(Some(Path::new("/dev/null")), Path::new(""), []);
        let mut settings = defaults.map_err(CliError::Settings)?;
        settings.scripts_dir = PathBuf::new();
        Ok(Self::new(global, settings, &std::env::current_dir()?))
    }

    fn with_file(global: &Global, file: Option<&Path>) -> Result<Self, CliError> {
        let here = std::env::current_dir()?;
        // Variables that are not text cannot be settings.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let settings = Settings::load(file, &here, environment).map_err(CliError::Settings)?;
        Ok(Self::new(global, settings, &here))
    }

    fn new(global: &Global, settings: Settings, here: &Path) -> Self {
        let data_dir = here.join(&global.data_dir);
        Self { settings, data_dir, json: global.json, out: Screen::stdout(), err: Screen::stderr() }
    }

    /// Opens the way to the backend without a word: for commands that only look.
    ///
    /// # Errors
    /// When the embedded default cannot be opened.
    pub(crate) async fn backend(&self, need: Need) -> Result<Backend, CliError> {
        Backend::open(self, need).await
    }

    /// Opens the way to the backend and says where it leads: for commands that change something.
    ///
    /// # Errors
    /// When the embedded default cannot be opened, or the account is another one than the settings mean.
    pub(crate) async fn backend_told(&self, need: Need) -> Result<Backend, CliError> {
        let backend = Backend::open(self, need).await?;
        self.note(&format!("backend: {}", backend.checked().await?));
        Ok(backend)
    }

    /// The data directory as people would write it from here.
    pub(crate) fn shown_data_dir(&self) -> String {
        let here = std::env::current_dir().unwrap_or_default();
        let inside = self.data_dir.strip_prefix(&here).ok().filter(|path| !path.as_os_str().is_empty());
        inside.unwrap_or(&self.data_dir).display().to_string()
    }

    /// A line for people, on standard error.
    pub(crate) fn note(&self, text: &str) {
        tell(&self.err.paint(Tone::Faint, text));
    }

    /// Prints a value as JSON.
    ///
    /// # Errors
    /// Standard output's.
    pub(crate) fn print_json(&self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
        Ok(print_as_is(&(visible::json(&text).into_owned() + "\n"))?)
    }

    /// The person for the audit trail, for instance `cli:maria`. LOGNAME first: `eval "$(rsqlflow env)"` sets USER to
    /// the warehouse's.
    pub(crate) fn person(&self) -> String {
        let name = ["LOGNAME", "USER"]
            .iter()
            .filter_map(|name| std::env::var(name).ok())
            .find(|name| !name.is_empty())
            .unwrap_or_else(|| format!("uid{}", rustix::process::getuid().as_raw()));
        format!("cli:{name}")
    }

    /// Asks for a yes, unless it was given.
    ///
    /// # Errors
    /// [`CliError::Unconfirmed`] where there is no terminal to ask at, or the terminal's.
    pub(crate) fn confirm(&self, question: &str, yes: bool) -> Result<bool, CliError> {
        use std::io::{IsTerminal, Write};
        if yes {
            return Ok(true);
        }
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Err(CliError::Unconfirmed { question: question.into() });
        }
        let mut err = std::io::stderr().lock();
        write!(err, "{} [y/N] ", for_people(question))?;
        err.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        let yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
        if !yes {
            writeln!(err, "left as it is")?;
        }
        Ok(yes)
    }
}
