//! `rsql`: reads the command line and the environment, connects, runs, and leaves with a status.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode as Status;

use rsqlflow_rsql::dialect::Dialect;
use rsqlflow_rsql::exit::ExitCode;
use rsqlflow_rsql::interrupt::Interrupt;
use rsqlflow_rsql::options::Options;
use rsqlflow_rsql::session::{Session, Surroundings};
use rsqlflow_rsql::target::Target;
use rsqlflow_rsql::wire::Connection;
use tracing_subscriber::EnvFilter;

fn main() -> Status {
    let mut options = match Options::parse(std::env::args_os()) {
        Ok(options) => options,
        Err(error) => {
            let asked_for = !error.use_stderr();
            let _ = error.print();
            return if asked_for { ExitCode::Success } else { ExitCode::Failure }.into();
        }
    };
    if let Ok(filter) = EnvFilter::try_from_env("RSQL_LOG") {
        let colours = std::io::stderr().is_terminal();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(colours)
            .init();
    }
    let environment = |name: &str| std::env::var(name).ok();
    let target = match Target::resolve(&options.asked, &environment) {
        Ok(target) => target,
        Err(error) => return complain(&error, ExitCode::Failure),
    };
    options.given = imported(&environment);
    let dialect = match environment("RSQL_DIALECT").filter(|name| !name.is_empty()) {
        None => None,
        Some(name) => match Dialect::from_name(&name) {
            Some(dialect) => Some(dialect),
            None => {
                let text = format!("RSQL_DIALECT is redshift or postgres, not {name:?}");
                return complain(&*Box::<dyn std::error::Error>::from(text), ExitCode::Failure);
            }
        },
    };
    let interrupt = match Interrupt::watch(&target) {
        Ok(interrupt) => interrupt,
        Err(error) => return complain(&error, ExitCode::Failure),
    };
    let surroundings = Surroundings { s3_root: environment("RSQL_S3_ROOT"), dialect, interrupt };
    // One script is one sequence: a runtime on this thread is all it takes, and quick to start.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(&target, options, surroundings)).into(),
        Err(error) => complain(&error, ExitCode::Failure),
    }
}

/// The variables that RSQL_VARIABLES asks for: unlike `-v`, the environment shows their values to nobody else.
fn imported(environment: &impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let names = environment("RSQL_VARIABLES").unwrap_or_default();
    let named = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    named.filter_map(|name| Some((name.to_owned(), environment(name)?))).collect()
}

async fn run(target: &Target, options: Options, surroundings: Surroundings) -> ExitCode {
    let connection = match Connection::open(target).await {
        Ok(connection) => connection,
        Err(error) => {
            let place = format!("could not connect to {}, port {}", target.host, target.port);
            let _ = writeln!(std::io::stderr(), "rsql: error: {place}: {error}");
            return ExitCode::Connection;
        }
    };
    surroundings.interrupt.guard(&connection);
    match Session::new(connection, target, options, surroundings) {
        Ok(session) => session.run().await,
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "rsql: error: {reason}");
            ExitCode::Failure
        }
    }
}

fn complain(error: &(dyn std::error::Error + 'static), code: ExitCode) -> Status {
    let mut text = format!("rsql: error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    let _ = writeln!(std::io::stderr(), "{text}");
    code.into()
}
