//! `rsqlflow completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::error::CliError;
use crate::exit::Exit;
use crate::screen::print_as_is;

pub(super) fn completions(shell: Shell) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rsqlflow", &mut script);
    print_as_is(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
