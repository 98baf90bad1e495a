//! `rsqlflow-supervisor`: stands between the daemon and one attempt of a script; only the daemon starts it.
//!
//! Standard input is the attempt's run file, standard output its log. The argument is for readers of process lists.

use std::process::ExitCode;

fn main() -> ExitCode {
    rsqlflow_supervisor::supervise::main()
}
