//! `rsqlflow-supervisor`: stands between the daemon and one attempt of a script; only the daemon starts it.
//!
//! Standard input is the attempt's run file, standard output its log. The argument is for readers of process lists.

use std::io::Write;
use std::process::ExitCode;

/// For whoever finds it in a process list.
const HELP: &str = "\
rsqlflow-supervisor stands between rsqlflow-agent and one attempt of a script, so that scripts
outlive the agent. Only the agent starts it; its argument names the attempt, RUN/JOB/ATTEMPT.
`rsqlflow-agent jobs` lists what runs, `rsqlflow-agent kill RUN/JOB` ends it.";

fn main() -> ExitCode {
    // An attempt's name has slashes in it.
    match std::env::args().nth(1).as_deref() {
        Some("--help" | "-h") => return told(HELP),
        Some("--version" | "-V") => return told(concat!("rsqlflow-supervisor ", env!("CARGO_PKG_VERSION"))),
        _ => {}
    }
    rsqlflow_supervisor::supervise::main()
}

fn told(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
