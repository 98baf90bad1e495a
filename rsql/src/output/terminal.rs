//! stdout, stderr, and the file of `-o` or `\o`.
//!
//! stdout is flushed before every write to stderr: logs merge the two streams, and RSQL scripts'
//! monitors read the merged log line by line. A stdout or file that can no longer be written does
//! not stop the script - the load matters more than its log - but is told once and makes the exit status
//! non-zero.

use std::fs::File;
use std::io::{self, BufWriter, Stdout, Write};

/// Where everything is written.
pub struct Terminal {
    stdout: BufWriter<Stdout>,
    file: Option<(String, BufWriter<File>)>,
    broken: bool,
}

impl Default for Terminal {
    fn default() -> Self {
        Self { stdout: BufWriter::with_capacity(64 * 1024, io::stdout()), file: None, broken: false }
    }
}

impl Terminal {
    /// Sends query output to a file, or back to stdout. psql runs a name that begins with `|` as a command; here no
    /// name is one, whoever chose it.
    pub fn redirect(&mut self, file: Option<&str>) -> io::Result<()> {
        if file.is_some_and(|name| name.starts_with('|')) {
            let text =
                "a name that begins with | is not run as a command; write to a file, then use it with \\!";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.flush();
        self.file = None;
        if let Some(name) = file {
            self.file = Some((name.to_owned(), BufWriter::new(File::create(name)?)));
        }
        Ok(())
    }

    /// Writes to stdout, whatever `\o` says.
    pub fn print(&mut self, text: &str) {
        let written = self.stdout.write_all(text.as_bytes());
        self.note("stdout", written);
    }

    /// Writes query output.
    pub fn result(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        match &mut self.file {
            Some((name, file)) => {
                let name = name.clone();
                let written = write(file);
                self.note(&name, written);
            }
            None => {
                let written = write(&mut self.stdout);
                self.note("stdout", written);
            }
        }
    }

    /// Writes to stderr, after what stdout still holds.
    pub fn error(&mut self, text: &str) {
        self.flush();
        // There is nobody left to tell when stderr is gone.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// Lets go of everything held back.
    pub fn flush(&mut self) {
        let flushed = self.stdout.flush();
        self.note("stdout", flushed);
        if let Some((name, file)) = &mut self.file {
            let name = name.clone();
            let flushed = file.flush();
            self.note(&name, flushed);
        }
    }

    /// Has output been lost?
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    fn note(&mut self, what: &str, result: io::Result<()>) {
        if let Err(error) = result
            && !self.broken
        {
            self.broken = true;
            let _ = writeln!(io::stderr().lock(), "rsql: cannot write to {what}: {error}");
        }
    }
}
