//! The daemon's own log, on standard error: lines for people, JSON where `RSQLFLOW_LOG_JSON` is set, and under systemd
//! lines without a time (the journal has its own) that begin with their priority, so that `journalctl -p err` shows the
//! errors. That is all the journal needs: a crate that speaks its native protocol would bring its own socket and thread
//! of failures, and the fields of an event are in the line anyway.

use std::fmt;
use std::io::IsTerminal;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What is logged where nobody says otherwise. The SDK's search for a region and credentials tells of each place where
/// there are none, several times; the agent tells what came of it.
const LEVELS: &str = "info,aws_config=error";

pub(crate) fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("RSQLFLOW_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(LEVELS));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::env::var_os("RSQLFLOW_LOG_JSON").is_some() {
        log.json().init();
    } else if goes_to_the_journal() {
        log.with_ansi(false).event_format(ForTheJournal::default()).init();
    } else {
        log.with_target(false).with_ansi(std::io::stderr().is_terminal()).init();
    }
}

/// Whether standard error is the stream to the journal that systemd made: it may have been redirected since.
/// <https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#%24JOURNAL_STREAM>
fn goes_to_the_journal() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|own| told == format!("{}:{}", own.st_dev, own.st_ino))
}

/// Lines with a priority as of `sd-daemon`(3): `<3>` is an error, `<6>` information.
/// <https://www.freedesktop.org/software/systemd/man/latest/sd-daemon.html>
struct ForTheJournal {
    line: Format<Full, ()>,
}

impl Default for ForTheJournal {
    fn default() -> Self {
        Self { line: Format::default().without_time().with_level(false).with_target(false).with_ansi(false) }
    }
}

impl<S, N> FormatEvent<S, N> for ForTheJournal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        let mut text = String::new();
        self.line.format_event(context, Writer::new(&mut text), event)?;
        // Every line is an entry of its own to the journal.
        text.lines().try_for_each(|line| writeln!(writer, "<{priority}>{line}"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;

    #[test]
    fn the_journal_gets_priorities_and_no_times() {
        let mut file = tempfile::tempfile().unwrap();
        let log = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_writer(file.try_clone().unwrap())
            .with_ansi(false)
            .event_format(ForTheJournal::default())
            .finish();
        tracing::subscriber::with_default(log, || {
            let _job = tracing::info_span!("job", job_name = "load").entered();
            tracing::error!(code = 7, "two\nlines");
            tracing::warn!("careful");
            tracing::info!("the script runs");
            tracing::trace!("detail");
        });
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        insta::assert_snapshot!(text);
    }
}
