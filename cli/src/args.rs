//! What operators may type: the commands, their options and their help.
//!
//! Parsing only. Every command's help ends with examples, because an example is what people look for; the texts are
//! in [`examples`]. Options that hold for every command are [`Global`] and may stand anywhere on the line.

mod examples;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Run Amazon Redshift RSQL scripts in order, on a host, with an audit trail.
#[derive(Debug, Parser)]
#[command(name = "rsqlflow", version, arg_required_else_help = true, after_help = examples::ALL)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Settings file; rsqlflow.toml in the working directory unless given
    #[arg(long, global = true, value_name = "FILE", env = "RSQLFLOW_SETTINGS", hide_env_values = true)]
    pub settings: Option<PathBuf>,
    /// Directory of the embedded default's state
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "RSQLFLOW_DATA_DIR",
        hide_env_values = true,
        default_value = ".rsqlflow"
    )]
    pub data_dir: PathBuf,
    /// Print JSON on stdout; its members keep their names and meaning
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the whole thing on this machine, from nothing
    #[command(after_help = examples::DEMO)]
    Demo(DemoArgs),
    /// Run the embedded default in the foreground: the AWS endpoint, the agent, the warehouse
    #[command(after_help = examples::UP)]
    Up,
    /// Print shell exports for a running `rsqlflow up`
    #[command(after_help = examples::ENV)]
    Env,
    /// Look after the config items
    #[command(subcommand, after_help = examples::CONFIG)]
    Config(ConfigCommand),
    /// Look at the schedules of the workflows
    #[command(subcommand, after_help = examples::SCHEDULE)]
    Schedule(ScheduleCommand),
    /// Start a run of a workflow and print its id
    #[command(after_help = examples::RUN)]
    Run(RunArgs),
    /// Show a run and its jobs
    #[command(after_help = examples::STATUS)]
    Status(StatusArgs),
    /// List runs, newest first
    #[command(after_help = examples::RUNS)]
    Runs(RunsArgs),
    /// List the hosts that run scripts
    #[command(after_help = examples::HOSTS)]
    Hosts,
    /// Print what the jobs of a run printed
    #[command(after_help = examples::LOGS)]
    Logs(LogsArgs),
    /// End a run and the scripts it is running
    #[command(after_help = examples::CANCEL)]
    Cancel(CancelArgs),
    /// Write rsqlflow.toml for an account, from what its stack says
    #[command(after_help = examples::INIT)]
    Init(InitArgs),
    /// Print the CloudFormation template of what an account needs
    #[command(after_help = examples::TEMPLATE)]
    Template {
        /// How it is written; YAML has comments
        #[arg(long, value_enum, default_value_t)]
        output: TemplateFormat,
    },
    /// Print a completion script for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Name of the CloudFormation stack, or its ARN
    #[arg(long, value_name = "NAME")]
    pub stack: String,
    /// AWS profile, which the file then names; that of the settings or of AWS_PROFILE unless given
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// AWS Region of the stack; that of the settings, the environment or the profile unless given
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Change a file that is there without asking
    #[arg(long, short)]
    pub force: bool,
}

/// How the template is written.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum TemplateFormat {
    /// YAML.
    #[default]
    Yaml,
    /// JSON.
    Json,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How much data: 1 is about a gigabyte of source files, 0.01 takes seconds
    #[arg(long, value_name = "FACTOR", default_value_t = 0.01, value_parser = scale_factor)]
    pub scale_factor: f64,
}

/// A scale factor of TPC-H that a demo can have.
fn scale_factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if (0.001..=100.0).contains(&factor) => Ok(factor),
        _ => Err("must be a number from 0.001 to 100".into()),
    }
}

/// What to do with config items.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check files and name everything that is wrong with them
    #[command(after_help = examples::CONFIG_VALIDATE)]
    Validate {
        /// YAML or JSON files; `-` is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Check files, all before any is stored, and store them with their schedules
    #[command(after_help = examples::CONFIG_PUT)]
    Put {
        /// YAML or JSON files; `-` is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print a stored item as JSON
    #[command(after_help = examples::CONFIG_GET)]
    Get {
        /// The workflow
        #[arg(value_name = "WORKFLOW")]
        id: String,
    },
    /// List the stored items
    #[command(after_help = examples::CONFIG_LIST)]
    List,
    /// Delete a stored item; its runs and their audit records stay
    #[command(after_help = examples::CONFIG_DELETE)]
    Delete {
        /// The workflow
        #[arg(value_name = "WORKFLOW")]
        id: String,
        /// Do not ask; needed where there is no terminal
        #[arg(long, short)]
        yes: bool,
    },
    /// Show what `put` would change; exits 1 where there is a difference
    #[command(after_help = examples::CONFIG_DIFF)]
    Diff {
        /// YAML or JSON file; `-` is standard input
        file: PathBuf,
    },
    /// Print the commented settings file with every default
    #[command(after_help = examples::CONFIG_DEFAULTS)]
    Defaults,
    /// Print the JSON Schema of config items
    #[command(after_help = examples::CONFIG_SCHEMA)]
    Schema,
}

/// What to do with schedules; `config put` makes them.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// List when workflows start next, and where Scheduler and the items differ; exits 1 where they do
    #[command(after_help = examples::SCHEDULE)]
    List {
        /// Only this workflow
        workflow: Option<String>,
        /// How many of the next times
        #[arg(long, short = 'n', value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
        next: u32,
    },
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The workflow
    #[arg(required_unless_present = "restart_from")]
    pub workflow: Option<String>,
    /// Run id; the same id is the same run, however often it is started
    #[arg(long, value_name = "RUN")]
    pub id: Option<String>,
    /// Environment variable for every script; overrides the item's
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    pub params: Vec<(String, String)>,
    /// Go on from an earlier run that has ended: jobs that completed in it are not run again
    #[arg(long, value_name = "RUN")]
    pub restart_from: Option<String>,
    /// With the item as the earlier run had it, rather than as it is now
    #[arg(long, requires = "restart_from")]
    pub as_it_was: bool,
    /// Run this stage and those after it, whether they completed earlier or not
    #[arg(long, value_name = "N|NAME")]
    pub from_stage: Option<String>,
    /// Run this job and no other, whether it completed earlier or not; may be repeated. Not with
    /// --from-stage: jobs are named one by one, whatever stage they are in
    #[arg(long, value_name = "JOB", conflicts_with = "from_stage")]
    pub only: Vec<String>,
    /// Show progress until the run has ended; exit 0 only when it completed
    #[arg(long, short)]
    pub wait: bool,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The run
    pub run: String,
    /// Show progress until the run has ended; exit 0 only when it completed
    #[arg(long, short)]
    pub watch: bool,
}

/// Arguments of `runs`.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// Only runs of this workflow
    pub workflow: Option<String>,
    /// At most so many
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The run
    pub run: String,
    /// Only this job
    pub job: Option<String>,
    /// Go on until the run has ended
    #[arg(long, short)]
    pub follow: bool,
    /// On a terminal too, print control characters as they are
    #[arg(long)]
    pub raw: bool,
    /// Only this attempt; all of them unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub attempt: Option<u32>,
}

/// Arguments of `cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The run
    pub run: String,
    /// Do not ask; needed where there is no terminal
    #[arg(long, short)]
    pub yes: bool,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if name.is_empty() { Err("write NAME=VALUE".into()) } else { Ok((name.into(), value.into())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_exit_code_is_in_the_help() {
        let help = Cli::command().render_long_help().to_string();
        for exit in Exit::ALL {
            let line = format!("{}  {}", exit.code(), exit.meaning());
            assert!(help.contains(&line), "`{line}` is not in\n{help}");
        }
    }

    #[test]
    fn the_help_reads_like_this() {
        insta::assert_snapshot!(Cli::command().term_width(100).render_help());
    }

    #[test]
    fn jobs_are_named_or_a_stage_is() {
        let both = ["rsqlflow", "run", "w", "--only", "a.sh", "--from-stage", "2"];
        let error = Cli::try_parse_from(both).unwrap_err();
        assert_eq!(error.kind(), clap::error::ErrorKind::ArgumentConflict, "{error}");
    }

    #[test]
    fn parameters_are_names_and_values() {
        let cli =
            Cli::try_parse_from(["rsqlflow", "run", "w", "--param", "day=2026-11-21=x", "--json"]).unwrap();
        let Command::Run(run) = cli.command else { panic!("not run") };
        assert_eq!(run.params, [("day".to_string(), "2026-11-21=x".to_string())]);
        assert!(cli.global.json);
        for bad in ["day", "=x"] {
            let error = Cli::try_parse_from(["rsqlflow", "run", "w", "--param", bad]).unwrap_err();
            assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()), "{error}");
        }
    }
}
