//! Where text goes, and what may be done to it there.
//!
//! A [`Screen`] knows one of the two streams: whether a person looks at it, and whether colours may be used. Colours
//! mean something (see [`Tone`]) and nothing is said by colour alone, so a pipe loses nothing. `NO_COLOR`
//! (<https://no-color.org>) switches them off; a terminal that says `TERM=dumb` is written to as a pipe is.
//!
//! What is printed holds what others wrote: descriptions, names, error messages, lines of logs. [`print`] and [`tell`]
//! write every character out that a terminal would obey ([`rsqlflow_config::visible`]); nothing before them has to
//! think of it. Our own colours get through because [`Screen::paint`] begins them with a [`mark`] that no text can hold.
//! What programs read goes by [`print_as_is`].

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use anstyle::{AnsiColor, Style};
use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};
use rsqlflow_config::audit::Status;
use rsqlflow_config::visible;

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
    /// Whether it is any terminal at all, one that says `TERM=dumb` included.
    pub(crate) obeys: bool,
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
        let obeys = terminal;
        let terminal = terminal && !dumb;
        Self { terminal, obeys, colour: terminal && !set("NO_COLOR") }
    }

    /// What a pipe gets.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { terminal: false, obeys: false, colour: false }
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
        if !self.colour || text.is_empty() {
            return text.into();
        }
        let (begin, end) = (marked(&style.render().to_string()), marked(&style.render_reset().to_string()));
        format!("{begin}{text}{end}")
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
                // Here rather than when it is printed: columns are as wide as what is seen.
                let text = if self.terminal {
                    visible::shown(&text.replace("\r\n", "\n")).into_owned()
                } else {
                    visible::shown_on_a_line(&text)
                };
                cell(tone, &text)
            }));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        marked(&table.trim_fmt()) + "\n"
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

/// What our own styles begin with until they are printed. It differs from process to process, so that no text that
/// comes from elsewhere has it.
fn mark() -> &'static str {
    static MARK: OnceLock<String> = OnceLock::new();
    // The standard library's hashers begin with chance.
    MARK.get_or_init(|| format!("\u{1b}{:016x}", RandomState::new().build_hasher().finish()))
}

/// A text whose only control sequences are ours.
fn marked(text: &str) -> String {
    text.replace('\u{1b}', mark())
}

/// A text as people may see it: our own styles, and everything else that a terminal would obey written out.
pub(crate) fn for_people(text: &str) -> String {
    text.split(mark()).map(visible::shown).collect::<Vec<_>>().join("\u{1b}")
}

/// Writes data for people to standard output.
///
/// # Errors
/// The stream's; a reader that went away (`| head`) is [`io::ErrorKind::BrokenPipe`].
pub(crate) fn print(text: &str) -> io::Result<()> {
    print_as_is(&for_people(text))
}

/// Writes data for programs to standard output, byte for byte.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_as_is(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a line to standard error. That nobody reads it is no reason to stop.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", for_people(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        assert_eq!(Screen::plain().paint(Tone::Bad, "failed"), "failed");
        assert_eq!(for_people(&COLOUR.paint(Tone::Bad, "failed")), "\u{1b}[31mfailed\u{1b}[0m");
    }

    const COLOUR: Screen = Screen { terminal: true, obeys: true, colour: true };

    #[test]
    fn what_others_wrote_is_never_obeyed_whatever_is_painted_around_it() {
        let evil = "a\u{1b}]0;x\u{7}\rb\u{1b}[31m\u{202e}\u{9b}2J";
        let shown = "a\\x1b]0;x\\x07\\rb\\x1b[31m\\u{202e}\\x9b2J";
        assert_eq!(for_people(evil), shown);
        let painted = COLOUR.paint(Tone::Strong, &format!("{} {evil}", COLOUR.paint(Tone::Bad, evil)));
        let own = "\u{1b}";
        assert_eq!(for_people(&painted), format!("{own}[1m{own}[31m{shown}{own}[0m {shown}{own}[0m"));
        for screen in [Screen::plain(), COLOUR] {
            let table = for_people(&screen.table(&["JOB"], vec![vec![(Tone::Bad, evil.into())]]));
            let left = table.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
            let left = left.replace("\u{1b}[38;5;1m", "").replace("\u{1b}[39m", "");
            assert!(!left.contains(visible::misleads), "{left:?}");
            assert!(left.contains(shown), "{left:?}");
        }
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
