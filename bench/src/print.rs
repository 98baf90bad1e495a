//! What the benchmarks' scripts print: `rsqlflow-bench print BYTES LINE_BYTES SECONDS`.
//!
//! The bytes come evenly over the seconds, in steps of 10 ms; the first line of each step tells its time between two `@`,
//! in nanoseconds since 1970. In no seconds they come as quickly as they are taken, without times.

use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

const STEP: Duration = Duration::from_millis(10);

/// Prints as the arguments say.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let number = |at: usize| -> Result<usize> {
        arguments.get(at).context("print BYTES LINE_BYTES SECONDS")?.parse().context("not a number")
    };
    let (bytes, length, seconds) = (number(0)?, number(1)?, number(2)?);
    let mut out = std::io::stdout().lock();
    if seconds == 0 {
        return write(&mut out, bytes, length);
    }
    let steps = seconds * 100;
    let start = Instant::now();
    for step in 0..steps {
        let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let stamp = format!("@{at}@");
        let mut text = format!("{stamp:.<width$}\n", width = length - 1).into_bytes();
        write(&mut text, (bytes / steps).saturating_sub(length), length)?;
        out.write_all(&text)?;
        // This is the pace of what is printed, and nobody waits for it.
        std::thread::sleep((STEP * u32::try_from(step + 1)?).saturating_sub(start.elapsed()));
    }
    Ok(())
}

/// So many bytes in numbered lines of one length.
pub(crate) fn write(out: &mut impl Write, bytes: usize, length: usize) -> Result<()> {
    let lines = bytes / length;
    let mut block = Vec::with_capacity(64 * 1024 + length);
    for number in 0..lines {
        writeln!(block, "row {number:010} {:.<width$}", "", width = length.saturating_sub(16))?;
        if block.len() >= 64 * 1024 {
            out.write_all(&block)?;
            block.clear();
        }
    }
    Ok(out.write_all(&block)?)
}
