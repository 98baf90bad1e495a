//! Commands for the operating system: `\!`, `\os` and backquotes.
//!
//! They run under `/bin/sh -c` with this process's environment, as in psql, and no value is put into their text: `\!`
//! and `\os` take the line as it is, backquotes refer to values ([`crate::lexer::backquotes`]). Their exit status is
//! not looked at: psql 15 does not either, and RSQL's documentation says nothing.

use std::io;
use std::process::{Command, Stdio};

use crate::lexer::backquotes::ShellCommand;

/// Runs `command` with this process's own stdin, stdout and stderr.
pub fn run(command: &str) -> io::Result<()> {
    if command.is_empty() {
        return Ok(());
    }
    Command::new("/bin/sh").arg("-c").arg(command).status().map(drop)
}

/// Runs `command` and returns what it prints, without one line end at the end of it.
///
/// Its stdin is empty: ours is the script.
pub fn capture(command: &ShellCommand) -> io::Result<String> {
    let values = command.values.iter().map(|(name, value)| (name, value));
    let output = Command::new("/bin/sh")
        .arg("-c")
        .arg(&command.text)
        .envs(values)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}
