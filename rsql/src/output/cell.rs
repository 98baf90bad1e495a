//! One value as it appears in a table: its lines and how wide they are on a screen.

use unicode_width::UnicodeWidthStr;

/// A value cut into lines, control characters made visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    lines: Vec<(String, usize)>,
}

impl Cell {
    pub(super) fn new(text: &str) -> Self {
        let lines = text.split('\n').map(|line| {
            let line = visible(line);
            let width = line.width();
            (line, width)
        });
        Self { lines: lines.collect() }
    }

    pub(super) fn width(&self) -> usize {
        self.lines.iter().map(|(_, width)| *width).max().unwrap_or(0)
    }

    pub(super) fn height(&self) -> usize {
        self.lines.len()
    }

    /// A line and its width; nothing below the last one.
    pub(super) fn line(&self, number: usize) -> (&str, usize) {
        self.lines.get(number).map_or(("", 0), |(line, width)| (line, *width))
    }
}

/// Tabs become blanks up to the next multiple of eight, other control characters their codes.
fn visible(line: &str) -> String {
    if !line.contains(|c: char| c.is_ascii_control()) {
        return line.to_owned();
    }
    let mut out = String::with_capacity(line.len() + 8);
    for c in line.chars() {
        match c {
            '\t' => {
                let to_stop = 8 - out.width() % 8;
                out.extend(std::iter::repeat_n(' ', to_stop));
            }
            '\r' => out.push_str("\\r"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}
