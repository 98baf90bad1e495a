//! Parses, runs, and maps the end to an exit code. See the library for everything else.

use std::process::ExitCode;

use clap::Parser;
use rsqlflow_cli::args::Cli;
use rsqlflow_cli::exit::Exit;

fn main() -> ExitCode {
    // clap exits 2 on wrong usage, which is the code for it.
    let cli = Cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(rsqlflow_cli::main(cli)).into(),
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            Exit::Failed.into()
        }
    }
}
