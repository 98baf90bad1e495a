//! Where text goes, and what may be done to it there.
//!
//! A [`Screen`] knows one of the two streams: whether a person looks at it, and whether colours may be used. Colours
//! mean something (see [`Tone`]) and nothing is said by colour alone, so a pipe loses nothing. `NO_COLOR`
//! (<https://no-color.org>) switches them off; a terminal that says `TERM=dumb` is written to as a pipe is.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};
use rsqlflow_config::audit::Status;

/// What a colour means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing.
    Plain,
    /// Ended well.
    Good,
    /// Ended badly.
    Bad,
    /// Under way, or ended by a limit.
    Busy,
    /// Not run, or of less interest.
    Faint,
    /// A heading.
    Strong,
}

impl From<Status> for Tone {
    fn from(status: Status) -> Self {
        match status {
            Status::Completed => Self::Good,
            Status::Failed => Self::Bad,
            Status::Triggered | Status::Running | Status::TimedOut => Self::Busy,
            Status::Cancelled | Status::Skipped => Self::Faint,
        }
    }
}

/// One of the two output streams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    /// Whether a person looks at it, on something that can move a cursor.
    pub(crate) terminal: bool,
    colour: bool,
}

impl Screen {
    /// Standard output: data.
    pub(crate) fn stdout() -> Self {
        Self::of(io::stdout().is_terminal())
    }

    /// Standard error: everything else.
    pub(crate) fn stderr() -> Self {
        Self::of(io::stderr().is_terminal())
    }

    fn of(terminal: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = terminal && !dumb;
        Self { terminal, colour: terminal && !set("NO_COLOR") }
    }

    /// What a pipe gets.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { terminal: false, colour: false }
    }

    /// Whether colours may be used.
    pub(crate) fn colour(self) -> bool {
        self.colour
    }

    /// Gives text its tone.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let style = match tone {
            Tone::Plain => Style::new(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Bad => AnsiColor::Red.on_default(),
            Tone::Busy => AnsiColor::Yellow.on_default(),
            Tone::Faint => Style::new().dimmed(),
            Tone::Strong => Style::new().bold(),
        };
        if self.colour && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.into() }
    }

    /// Columns under a heading, without lines. On a terminal long cells are wrapped to its width; in a pipe every row
    /// is one line, so that `grep` and `awk` see what they expect.
    pub(crate) fn table(self, heading: &[&str], rows: Vec<Vec<(Tone, String)>>) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING);
        if self.colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let arrangement =
            if self.terminal { ContentArrangement::Dynamic } else { ContentArrangement::Disabled };
        table.set_content_arrangement(arrangement);
        table.set_header(heading.iter().map(|text| cell(Tone::Strong, text)));
        for row in rows {
            table.add_row(row.into_iter().map(|(tone, text)| {
                let text = if self.terminal { text } else { text.replace(['\n', '\r'], " ") };
                cell(tone, &text)
            }));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.trim_fmt() + "\n"
    }
}

fn cell(tone: Tone, text: &str) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Bad => cell.fg(Color::DarkRed),
        Tone::Busy => cell.fg(Color::DarkYellow),
        Tone::Faint => cell.add_attribute(Attribute::Dim),
        Tone::Strong => cell.add_attribute(Attribute::Bold),
    }
}

/// Writes data to standard output.
///
/// # Errors
/// The stream's; a reader that went away (`| head`) is [`io::ErrorKind::BrokenPipe`].
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a line to standard error. That nobody reads it is no reason to stop.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        assert_eq!(Screen::plain().paint(Tone::Bad, "failed"), "failed");
        let colour = Screen { terminal: true, colour: true };
        assert_eq!(colour.paint(Tone::Bad, "failed"), "\u{1b}[31mfailed\u{1b}[0m");
    }

    #[test]
    fn a_row_in_a_pipe_is_a_line() {
        let rows = vec![
            vec![(Tone::Plain, "load.sh".into()), (Tone::Bad, "two\nlines ".repeat(40).trim_end().into())],
            vec![(Tone::Plain, "größer.sh".into()), (Tone::Good, "ok".into())],
        ];
        let text = Screen::plain().table(&["JOB", "MESSAGE"], rows);
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("größer.sh  ok\n"), "{text}");
    }
}
