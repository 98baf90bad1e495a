//! What goes on inside, for whoever asks: `RSQLFLOW_LOG` filters it, as `RUST_LOG` does elsewhere.
//!
//! It goes to standard error, under the command's own words. `up` says a little by itself, other commands only
//! warnings.

use tracing_subscriber::EnvFilter;

use crate::screen::Screen;

/// The variable that filters.
const VARIABLE: &str = "RSQLFLOW_LOG";

/// Starts writing.
pub(crate) fn init(talkative: bool) {
    // The SDK's runtime misses a connection where calls stay in the process; what fails is told by whoever called.
    let default = if talkative {
        "warn,aws_config=error,aws_smithy_runtime=off,rsqlflow_cli=info,rsqlflow_local=info,rsqlflow_agent=info,rsqlflow_trigger=info"
    } else {
        // That no credentials were found is told by the call that needed them.
        "warn,aws_config=error,aws_smithy_runtime=off"
    };
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(Screen::stderr().colour());
    // Only a second start could fail, and then the first one holds.
    let _ = subscriber.try_init();
}
