//! What an operator reads about a job that failed: one message from the end of its log.
//!
//! The best is the statement's own error, as rsql and psql print it. Where there is none, the last lines. Any log will
//! do: binary, empty, cut in the middle. What only a terminal understands is left out: colours, and what a carriage
//! return wrote over.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rsqlflow_config::visible;

use crate::redact::Redactor;

/// So much of a log's end is looked at.
const TAIL_MAX: u64 = 64 * 1024;

/// So many lines are quoted where no error is found.
const LAST_LINES: usize = 5;

/// Longest message, in bytes. The callback's cause may have 32,768 characters and holds more than the message.
/// <https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskFailure.html>
pub(crate) const MESSAGE_MAX: usize = 8 * 1024;

/// The message for an attempt that ended with `how`, for instance `exit code 21`.
pub(crate) fn of_failure(log: &Path, how: &str, redactor: &Redactor) -> String {
    match reason(&tail(log, redactor)) {
        Some(reason) => format!("{} ({how})", shorten(&reason)),
        None => format!("{how}; the script printed nothing"),
    }
}

/// The last lines of a log, for an attempt whose end is not of its own making.
pub(crate) fn last_lines(log: &Path, redactor: &Redactor) -> Option<String> {
    let lines = tail(log, redactor);
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    (!last.is_empty()).then(|| shorten(&last.join("\n")))
}

/// The lines at a log's end that say something.
fn tail(log: &Path, redactor: &Redactor) -> Vec<String> {
    let text = redactor.mask_text(&String::from_utf8_lossy(&read_tail(log).unwrap_or_default()));
    text.lines().map(plain).filter(|line| !line.trim().is_empty()).collect()
}

/// A line as a terminal would leave it, without what is no text.
fn plain(line: &str) -> String {
    let line = line.trim_end();
    let mut rest = line.rsplit('\r').next().unwrap_or(line);
    let mut plain = String::with_capacity(rest.len());
    while let Some((text, sequence)) = rest.split_once("\u{1b}[") {
        plain.push_str(text);
        // ECMA-48, 5.4: parameters, then one byte that ends the sequence.
        rest = sequence.trim_start_matches(|c| matches!(c, ' '..='?'));
        rest = rest.strip_prefix(|c| matches!(c, '@'..='~')).unwrap_or(rest);
    }
    plain.push_str(rest);
    plain.retain(|c| !c.is_control() || c == '\t');
    plain.truncate(plain.trim_end().len());
    // Mail and consoles of others show the message as well, and would turn words round.
    visible::shown(&plain).into_owned()
}

fn read_tail(log: &Path) -> std::io::Result<Vec<u8>> {
    let file = File::open(log)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL_MAX);
    let mut tail = vec![0; usize::try_from(length - start).unwrap_or(0)];
    file.read_exact_at(&mut tail, start)?;
    // A line that begins before it may begin with half a secret.
    if start > 0
        && let Some(end) = tail.iter().position(|byte| *byte == b'\n')
        && end + 1 < tail.len()
    {
        tail.drain(..=end);
    }
    Ok(tail)
}

/// The last error statement of the log, else its last lines.
fn reason(lines: &[String]) -> Option<String> {
    let found = lines.iter().enumerate().rev().find_map(|(index, line)| Some((index, error_text(line)?)));
    if let Some((index, message)) = found {
        let state = lines[index + 1..].iter().take(LAST_LINES).find_map(|line| sqlstate(line));
        return Some(match state {
            Some(state) => format!("SQLSTATE {state}: {message}"),
            None => message.to_owned(),
        });
    }
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    (!last.is_empty()).then(|| last.join("\n"))
}

/// The message of `rsql: ERROR:  relation "x" does not exist`, `rsql:load.sql:12: ERROR:  ...` or psql's
/// `ERROR:  ...`, also behind a prefix such as `psql:load.sql:12: `.
fn error_text(line: &str) -> Option<&str> {
    let (before, message) = line.split_once("ERROR:  ").or_else(|| line.split_once("FATAL:  "))?;
    let known = before.is_empty()
        || ((before.starts_with("rsql:") || before.starts_with("psql:")) && before.ends_with(": "));
    (known && !message.trim().is_empty()).then(|| message.trim())
}

fn sqlstate(line: &str) -> Option<&str> {
    let state = line.trim().strip_prefix("SQLSTATE:")?.trim();
    (state.len() == 5 && state.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(state)
}

/// Keeps the end, which is nearer to the failure.
fn shorten(message: &str) -> String {
    if message.len() <= MESSAGE_MAX {
        return message.to_owned();
    }
    let mut start = message.len() - MESSAGE_MAX;
    while !message.is_char_boundary(start) {
        start += 1;
    }
    format!("… {}", &message[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(log: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), log).unwrap();
        of_failure(file.path(), "exit code 21", &Redactor::exactly(&[b"secret99"]))
    }

    #[test]
    fn the_statement_s_error_is_the_message() {
        let log =
            b"start\nrsql:load.sql:3: ERROR:  old\nrsql:load.sql:12: ERROR:  relation \"x\" does not exist\n\
            LINE 1: select * from x\nSQLSTATE: 42P01\nbye\n";
        assert_eq!(message(log), "SQLSTATE 42P01: relation \"x\" does not exist (exit code 21)");
        assert_eq!(message(b"rsql: ERROR:  boom secret99\n"), "boom ******** (exit code 21)");
        assert_eq!(message(b"psql:f:1: ERROR:  boom"), "boom (exit code 21)");
        assert_eq!(message(b"ERROR:  boom\r\n"), "boom (exit code 21)");
        assert_eq!(message("ERROR:  a\u{202e}b\u{1b}]0;x\u{7}".as_bytes()), "a\\u{202e}b]0;x (exit code 21)");
        assert_eq!(message(b"load 50%\rrsql: \x1b[1;31mERROR:  boom\x1b[0m\0\n"), "boom (exit code 21)");
    }

    #[test]
    fn else_the_last_lines_and_no_log_is_odd_enough_to_fail() {
        assert_eq!(message(b"1\n2\n\n3\n4\n5\n6\n"), "2\n3\n4\n5\n6 (exit code 21)");
        assert_eq!(message(b""), "exit code 21; the script printed nothing");
        assert_eq!(
            message(b"not an ERROR:  of a statement\n"),
            "not an ERROR:  of a statement (exit code 21)"
        );
        assert!(message(&[0xff, 0xfe, b'\n', 0, 7]).ends_with("(exit code 21)"));
        let long = "ä".repeat(100_000);
        let short = message(long.as_bytes());
        assert!(short.len() < MESSAGE_MAX + 100 && short.starts_with('…'), "{}", short.len());
        let mut long = b"secret99 ".repeat(20_000);
        long.extend_from_slice(b"\nlast\n");
        assert_eq!(message(&long), "last (exit code 21)");
        let missing = of_failure(Path::new("/nonexistent/log"), "signal 9", &Redactor::default());
        assert_eq!(missing, "signal 9; the script printed nothing");
    }
}
