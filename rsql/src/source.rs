//! Where input comes from: stdin, a file, or a `-c` text, line by line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// What kind of input it is; decides prefixes and exit codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// Standard input.
    Stdin,
    /// A file, by the name it was given.
    File(String),
    /// The text of a `-c`.
    Command,
}

/// An input being read.
pub struct Source {
    kind: SourceKind,
    reader: Box<dyn BufRead>,
    line: u64,
}

impl Source {
    /// Standard input.
    pub fn stdin() -> Self {
        Self { kind: SourceKind::Stdin, reader: Box::new(io::stdin().lock()), line: 0 }
    }

    /// A file; `-` is standard input. A directory is refused here rather than read as an error.
    pub fn open(name: &str) -> io::Result<Self> {
        if name == "-" {
            return Ok(Self::stdin());
        }
        let file = File::open(Path::new(name))?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        Ok(Self { kind: SourceKind::File(name.to_owned()), reader: Box::new(BufReader::new(file)), line: 0 })
    }

    /// The text of a `-c`.
    pub fn command(text: &str) -> Self {
        let reader = Box::new(io::Cursor::new(text.to_owned().into_bytes()));
        Self { kind: SourceKind::Command, reader, line: 0 }
    }

    /// What it is.
    pub fn kind(&self) -> &SourceKind {
        &self.kind
    }

    /// The number of the line read last, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The next line with its line end, `None` at the end of input.
    ///
    /// Bytes that are not UTF-8 are an error: the server was told that it gets UTF-8, and to
    /// replace them silently would load other data than the script says.
    pub fn read_line(&mut self) -> io::Result<Option<String>> {
        let mut bytes = Vec::new();
        if self.reader.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        self.line += 1;
        let text = String::from_utf8(bytes).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("line {} is not UTF-8", self.line))
        })?;
        if self.line == 1
            && let Some(text) = text.strip_prefix('\u{feff}')
        {
            return Ok(Some(text.to_owned()));
        }
        Ok(Some(text))
    }

    /// The next piece of inline COPY data: a line as bytes, `None` at `\.` or the end of input.
    pub fn read_copy_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        if self.reader.by_ref().read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        self.line += 1;
        let end = matches!(bytes.as_slice(), b"\\." | b"\\.\n" | b"\\.\r\n");
        Ok((!end).then_some(bytes))
    }
}
