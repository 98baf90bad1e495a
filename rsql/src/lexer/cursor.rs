//! A place in a line of input, and in the values of the variables being read in its stead.

/// One line, with a stack of variable values on top of it.
#[derive(Debug)]
pub struct Cursor {
    line: Layer,
    values: Vec<(String, Layer)>,
}

#[derive(Debug)]
struct Layer {
    text: String,
    position: usize,
}

impl Layer {
    fn rest(&self) -> &str {
        self.text.get(self.position..).unwrap_or("")
    }
}

impl Cursor {
    /// At the start of `line`, which keeps its line end.
    pub fn new(line: impl Into<String>) -> Self {
        Self { line: Layer { text: line.into(), position: 0 }, values: Vec::new() }
    }

    /// What is left of the innermost layer; values that are used up are dropped first.
    pub(super) fn rest(&mut self) -> &str {
        while self.values.last().is_some_and(|(_, layer)| layer.rest().is_empty()) {
            self.values.pop();
        }
        self.values.last().map_or(self.line.rest(), |(_, layer)| layer.rest())
    }

    /// Moves on by `bytes` in the innermost layer.
    pub(super) fn advance(&mut self, bytes: usize) {
        let layer = self.values.last_mut().map_or(&mut self.line, |(_, layer)| layer);
        layer.position += bytes;
    }

    /// Reads `value` next, as the value of `name`.
    pub(super) fn push_value(&mut self, name: &str, value: &str) {
        self.values.push((name.to_owned(), Layer { text: value.to_owned(), position: 0 }));
    }

    /// Is the value of `name` being read? Then it must not be put into itself.
    pub(super) fn is_reading(&self, name: &str) -> bool {
        self.values.iter().any(|(reading, _)| reading == name)
    }

    /// Is this the line itself rather than a variable's value?
    pub(super) fn on_line(&self) -> bool {
        self.values.is_empty()
    }

    /// What is left of the line itself.
    pub fn line_rest(&self) -> &str {
        self.line.rest()
    }

    /// Moves on by `bytes` in the line itself.
    pub fn advance_line(&mut self, bytes: usize) {
        self.line.position += bytes;
    }

    /// Takes all that is left of the line, without its line end.
    pub fn take_line(&mut self) -> String {
        let rest = self.line.rest().trim_end_matches(['\n', '\r']).to_owned();
        self.line.position = self.line.text.len();
        rest
    }
}
