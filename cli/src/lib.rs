//! `rsqlflow`, the operators' command.
//!
//! Thin: it parses what was typed ([`args`]), opens the way to the backend, lets the rooms that own the work do it
//! (trigger, agent, local), and shows what their records say. Everything it does in AWS's name goes through SDK
//! clients, so no command knows whether they lead to AWS or to this machine.
//!
//! Data goes to standard output, everything else to standard error, and how a command ends is one of [`exit::Exit`].

pub mod args;
pub mod exit;

mod backend;
mod clock;
mod commands;
mod context;
mod demo;
mod error;
mod interrupt;
mod logs;
mod progress;
mod records;
mod screen;
mod script_line;
mod settings_file;
mod shell;
mod stack;
mod template;
mod trace;
mod trouble;
mod view;

use args::Cli;
use exit::Exit;

/// Does what was typed, and says on standard error why not when it could not.
pub async fn main(cli: Cli) -> Exit {
    trace::init(matches!(cli.command, args::Command::Up));
    match commands::perform(cli).await {
        Ok(exit) => exit,
        Err(error) => {
            error.tell(screen::Screen::stderr());
            error.exit()
        }
    }
}
