//! The commands, one file each. A command takes what was typed and a [`Context`], and ends with an [`Exit`]; it
//! speaks to AWS through SDK clients and cannot know where they lead.

mod cancel;
mod completions;
mod config;
mod env;
mod files;
mod hosts;
mod init;
mod logs;
mod put;
pub(crate) mod run;
mod runs;
mod schedule;
mod status;
mod template;
mod up;
pub(crate) mod wait;

use crate::args::{Cli, Command, ConfigCommand};
use crate::backend::refused::explain;
use crate::context::Context;
use crate::demo::demo;
use crate::error::CliError;
use crate::exit::Exit;

/// What the command gets. What prints what settings or items may have, or checks a file, does so whatever state the
/// settings are in, and `init` may be there to make the file that was named.
fn context(cli: &Cli) -> Result<Context, CliError> {
    use ConfigCommand::{Defaults, Schema, Validate};
    let named = cli.global.settings.as_ref();
    match &cli.command {
        // The name is a slip, and what holds of the file that was meant is not known.
        Command::Config(Validate { .. }) if named.is_some_and(|file| !file.exists()) => {
            Context::load(&cli.global)
        }
        Command::Config(Defaults | Schema | Validate { .. }) => Context::lenient(&cli.global),
        Command::Init(_) if named.is_some_and(|file| !file.exists()) => Context::without_file(&cli.global),
        _ => Context::load(&cli.global),
    }
}

/// Does what was typed.
pub(crate) async fn perform(cli: Cli) -> Result<Exit, CliError> {
    // Neither needs settings, which may be what is being repaired.
    if let Command::Completions { shell } = cli.command {
        return completions::completions(shell);
    }
    if let Command::Template { output } = cli.command {
        return template::template(output);
    }
    let context = &context(&cli)?;
    let done = match cli.command {
        Command::Demo(args) => demo(context, args).await,
        Command::Up => up::up(context).await,
        Command::Env => env::env(context).await,
        Command::Init(args) => init::init(context, cli.global.settings.as_deref(), args).await,
        Command::Config(command) => config::config(context, command).await,
        Command::Schedule(command) => schedule::schedule(context, command).await,
        Command::Run(args) => run::run(context, args).await,
        Command::Status(args) => status::status(context, args).await,
        Command::Runs(args) => runs::runs(context, args).await,
        Command::Hosts => hosts::hosts(context).await,
        Command::Logs(args) => logs::logs(context, args).await,
        Command::Cancel(args) => cancel::cancel(context, args).await,
        Command::Completions { .. } | Command::Template { .. } => Ok(Exit::Ok),
    };
    done.map_err(|error| explain(error, &context.settings))
}
