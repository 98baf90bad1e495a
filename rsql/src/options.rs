//! The command line: psql's letters, RSQL's `-D`.

use std::ffi::OsString;

use clap::{ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser};

use crate::target::Asked;

const AFTER_HELP: &str = "\
Exit status:
  0  the input was run to its end (SQL errors do not change that), or \\quit
  1  a bad option, an unreadable file, output that could not be written, or a failed -c
  2  no connection could be made, or it was lost
  3  the script was stopped: ON_ERROR_STOP, or a \\goto without its \\label
  n  \\exit n; \\rset maxerror leaves with the severity that went over the limit
  128 + n  signal n; the running statement is cancelled

Environment:
  RSPASSWORD, then the DSN, then PGPASSWORD   the password
  ODBCINI                                     the DSN file, instead of ~/.odbc.ini
  RSPORT, PGPORT, PGHOST, PGUSER, PGDATABASE  used where options and DSN are silent
  PGSSLMODE, PGSSLROOTCERT, PGCONNECT_TIMEOUT, PGAPPNAME
  RSQL_DIALECT   redshift or postgres, instead of asking the server
  RSQL_VARIABLES names of environment variables, separated by commas, that become variables as with -v; their values
                 do not choose files: \\i stays below the working directory, \\o in the directory that the script names
  RSQL_S3_ROOT   the directory that COPY FROM 's3://...' reads from when the server is PostgreSQL
  RSQL_LOG       diagnostics on stderr, such as \"debug\"";

/// An RSQL-compatible client for Amazon Redshift and PostgreSQL.
#[derive(Debug, Parser)]
#[command(
    name = "rsql",
    version,
    disable_help_flag = true,
    disable_version_flag = true,
    after_help = AFTER_HELP,
    args_override_self = true
)]
struct Arguments {
    /// Connect to this host, or to the Unix socket in this directory [default: localhost].
    #[arg(short = 'h', long)]
    host: Option<String>,
    /// The port [default: 5439].
    #[arg(short = 'p', long)]
    port: Option<String>,
    /// The user.
    #[arg(short = 'U', long = "username")]
    user: Option<String>,
    /// The database.
    #[arg(short = 'd', long = "dbname")]
    database: Option<String>,
    /// A DSN: a section of the odbc.ini file.
    #[arg(short = 'D', long)]
    dsn: Option<String>,
    /// Run these commands and leave; may be repeated and mixed with -f.
    #[arg(short = 'c', long = "command", allow_hyphen_values = true, action = ArgAction::Append)]
    command: Vec<String>,
    /// Run the commands in this file and leave; - is standard input.
    #[arg(short = 'f', long = "file", allow_hyphen_values = true, action = ArgAction::Append)]
    file: Vec<String>,
    /// Set a variable, NAME=VALUE; NAME alone unsets it.
    #[arg(short = 'v', long = "set", visible_alias = "variable", action = ArgAction::Append)]
    variable: Vec<String>,
    /// Rows only: no headers, no footers.
    #[arg(short = 't', long)]
    tuples_only: bool,
    /// Values with a separator between instead of a table.
    #[arg(short = 'A', long)]
    no_align: bool,
    /// One line per column.
    #[arg(short = 'x', long)]
    expanded: bool,
    /// Comma-separated values.
    #[arg(long)]
    csv: bool,
    /// No command tags and no confirmations.
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Print every line of input.
    #[arg(short = 'a', long)]
    echo_all: bool,
    /// Print every statement that is sent.
    #[arg(short = 'e', long)]
    echo_queries: bool,
    /// Print every statement that fails.
    #[arg(short = 'b', long)]
    echo_errors: bool,
    /// Set an output option, as \pset does: NAME=VALUE.
    #[arg(short = 'P', long = "pset", action = ArgAction::Append)]
    pset: Vec<String>,
    /// What stands between values in unaligned output [default: |].
    #[arg(short = 'F', long, allow_hyphen_values = true)]
    field_separator: Option<String>,
    /// What stands between rows in unaligned output [default: a line end].
    #[arg(short = 'R', long, allow_hyphen_values = true)]
    record_separator: Option<String>,
    /// Write query results to this file.
    #[arg(short = 'o', long)]
    output: Option<String>,
    /// What a script that ran to its end reports: 0, or the highest severity of its errors as BTEQ does.
    #[arg(long, value_name = "psql|severity", default_value = "psql")]
    exit_status: String,
    /// Accepted and without effect: no startup file is read.
    #[arg(short = 'X', long)]
    no_psqlrc: bool,
    /// Accepted and without effect: nobody is ever asked for a password.
    #[arg(short = 'w', long)]
    no_password: bool,
    /// Accepted and without effect: there is no line editing.
    #[arg(short = 'n', long)]
    no_readline: bool,
    /// Print the version.
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
    /// Print this help.
    #[arg(short = '?', long, action = ArgAction::Help)]
    help: Option<bool>,
    /// The database, if -d does not name it.
    #[arg(value_name = "DBNAME")]
    positional_database: Option<String>,
    /// The user, if -U does not name one.
    #[arg(value_name = "USERNAME")]
    positional_user: Option<String>,
}

/// One thing to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The text of a `-c`.
    Command(String),
    /// The file of an `-f`.
    File(String),
}

/// What the command line asks for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own on the command line")]
pub struct Options {
    /// The connection.
    pub asked: Asked,
    /// `-c` and `-f` in their order; none means standard input.
    pub actions: Vec<Action>,
    /// `-v`, in order; no value means unset.
    pub variables: Vec<(String, Option<String>)>,
    /// What `RSQL_VARIABLES` names: the values that came with the job.
    pub given: Vec<(String, String)>,
    /// `-A -t -x -F -R -P`, as names and values for `\pset`.
    pub layout: Vec<(String, String)>,
    /// `-q`
    pub quiet: bool,
    /// `-a`
    pub echo_all: bool,
    /// `-e`
    pub echo_queries: bool,
    /// `-b`
    pub echo_errors: bool,
    /// `-o`
    pub output: Option<String>,
    /// `--exit-status severity`
    pub exit_with_severity: bool,
}

impl Options {
    /// Reads a command line, program name first. The error knows how to print itself, also for
    /// `--help` and `--version`.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Arguments::command();
        let matches = command.try_get_matches_from_mut(arguments)?;
        let given = Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        let exit_with_severity = match given.exit_status.as_str() {
            "psql" => false,
            "severity" => true,
            other => {
                let message = format!("--exit-status is psql or severity, not {other}");
                return Err(command.error(clap::error::ErrorKind::InvalidValue, message));
            }
        };
        // With -d the first positional argument is the user, as in psql.
        let mut positional =
            [given.positional_database.clone(), given.positional_user.clone()].into_iter().flatten();
        let database = given.database.clone().or_else(|| positional.next());
        let user = given.user.clone().or_else(|| positional.next());
        Ok(Self {
            actions: actions(&matches, &given),
            layout: layout(&given),
            given: Vec::new(),
            variables: given.variable.iter().map(|text| name_and_value(text)).collect(),
            asked: Asked { host: given.host, port: given.port, user, database, dsn: given.dsn },
            quiet: given.quiet,
            echo_all: given.echo_all,
            echo_queries: given.echo_queries,
            echo_errors: given.echo_errors,
            output: given.output,
            exit_with_severity,
        })
    }
}

fn actions(matches: &ArgMatches, given: &Arguments) -> Vec<Action> {
    let indices = |name: &str| matches.indices_of(name).into_iter().flatten().collect::<Vec<_>>();
    let commands = given.command.iter().cloned().map(Action::Command);
    let files = given.file.iter().cloned().map(Action::File);
    let mut all: Vec<(usize, Action)> = indices("command").into_iter().zip(commands).collect();
    all.extend(indices("file").into_iter().zip(files));
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, action)| action).collect()
}

fn layout(given: &Arguments) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut set = |name: &str, value: &str| settings.push((name.to_owned(), value.to_owned()));
    for text in &given.pset {
        let (name, value) = name_and_value(text);
        set(&name, &value.unwrap_or_default());
    }
    for (given, name, value) in [
        (given.tuples_only, "tuples_only", "on"),
        (given.no_align, "format", "unaligned"),
        (given.csv, "format", "csv"),
        (given.expanded, "expanded", "on"),
    ] {
        if given {
            set(name, value);
        }
    }
    if let Some(separator) = &given.field_separator {
        set("fieldsep", separator);
    }
    if let Some(separator) = &given.record_separator {
        set("recordsep", separator);
    }
    settings
}

fn name_and_value(text: &str) -> (String, Option<String>) {
    match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Options {
        Options::parse(line.split(' ').map(OsString::from)).unwrap()
    }

    #[test]
    fn commands_and_files_keep_their_order() {
        let options =
            parse("rsql -f a.sql -c x -D etl -t -A -f b.sql -v n=1 -v e= -v gone -h wh -P pager=off");
        let command = |text: &str| Action::Command(text.into());
        let file = |text: &str| Action::File(text.into());
        assert_eq!(options.actions, [file("a.sql"), command("x"), file("b.sql")]);
        assert_eq!(
            options.variables,
            [("n".into(), Some("1".into())), ("e".into(), Some(String::new())), ("gone".into(), None)]
        );
        assert_eq!(options.asked.host.as_deref(), Some("wh"));
        assert_eq!(options.asked.dsn.as_deref(), Some("etl"));
    }

    #[test]
    fn positional_arguments_fill_what_is_missing() {
        let asked = parse("rsql dev ann").asked;
        assert_eq!((asked.database.as_deref(), asked.user.as_deref()), (Some("dev"), Some("ann")));
        let asked = parse("rsql -d dev ann").asked;
        assert_eq!((asked.database.as_deref(), asked.user.as_deref()), (Some("dev"), Some("ann")));
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
