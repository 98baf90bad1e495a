//! From a position in the file to the next batch.
//!
//! Nothing is kept between two looks at a file but the position: what stands there is read again. It comes from the page
//! cache, and is at most the beginning of one line.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::batch::Batch;
use super::lines::Lines;
use crate::redact::Redactor;

/// How much is read at once.
const CHUNK: u64 = 64 * 1024;

/// So much is looked through at most for one batch: a progress bar can fill gigabytes with what needs no showing.
const LOOK_MAX: u64 = 4 * 1024 * 1024;

/// What becomes of a last line that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastLine {
    /// It waits for its end.
    Waits,
    /// It is shown as it stands, and goes on.
    Shown,
    /// The same, and what it goes on with is not shown.
    Cut,
    /// It has ended with what is there.
    Ended,
}

/// How far a look got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Everything before this is in the batch or needs no showing.
    pub to: u64,
    /// Whether the look ended before all was seen.
    pub more: bool,
    /// Whether the beginning of a line waits for its end.
    pub rest: bool,
}

/// Fills a batch with the events of the file from `from` on, up to the byte `upto`.
pub(crate) fn read(
    file: &File,
    redactor: Redactor,
    from: u64,
    upto: u64,
    last_line: LastLine,
    batch: &mut Batch,
) -> std::io::Result<Reach> {
    let mut lines = Lines::new(redactor, from, byte_before(file, from)?);
    let mut chunk = vec![0; usize::try_from(upto.saturating_sub(from).min(CHUNK)).unwrap_or(0)];
    let mut at = from;
    while at < upto && at - from < LOOK_MAX && !batch.is_full() {
        let want = usize::try_from(upto - at).map_or(chunk.len(), |left| left.min(chunk.len()));
        let got = file.read_at(&mut chunk[..want], at)?;
        if got == 0 {
            break;
        }
        at += got as u64;
        lines.feed(&chunk[..got], |line| batch.add(line));
    }
    let seen = at >= upto;
    if seen {
        match last_line {
            LastLine::Waits => {}
            LastLine::Shown => lines.flush(false, |line| batch.add(line)),
            LastLine::Cut => lines.flush(true, |line| batch.add(line)),
            LastLine::Ended => lines.finish(|line| batch.add(line)),
        }
    }
    let full = batch.is_full();
    let to = if full { batch.end().unwrap_or(from) } else { lines.passed() };
    Ok(Reach { to, more: full || !seen, rest: !full && lines.has_rest() })
}

fn byte_before(file: &File, position: u64) -> std::io::Result<Option<u8>> {
    let Some(before) = position.checked_sub(1) else { return Ok(None) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, before)?;
    Ok(Some(byte[0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(text: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        file
    }

    #[test]
    fn full_batches_follow_each_other() {
        let file = file(b"1\n2\n3\n4");
        let look = |from, last_line| {
            let mut batch = Batch::new(2);
            let reach = read(&file, Redactor::default(), from, 7, last_line, &mut batch).unwrap();
            (batch.into_texts().join(" "), reach)
        };
        let reach = |to, more, rest| Reach { to, more, rest };
        assert_eq!(look(0, LastLine::Waits), ("1 2".into(), reach(4, true, false)));
        assert_eq!(look(4, LastLine::Waits), ("3".into(), reach(6, false, true)));
        assert_eq!(look(4, LastLine::Ended), ("3 4".into(), reach(7, false, false)));
    }

    #[test]
    fn a_long_progress_bar_is_looked_through_in_steps() {
        let mut text = b"50% \r".repeat(2_000_000);
        text.extend_from_slice(b"100%\n");
        let (file, length) = (file(&text), text.len() as u64);
        let (mut from, mut looks) = (0, 0);
        let mut batch = Batch::new(2);
        while from < length {
            from = read(&file, Redactor::default(), from, length, LastLine::Waits, &mut batch).unwrap().to;
            looks += 1;
        }
        assert_eq!((batch.into_texts(), looks), (vec!["100%".into()], 3));
    }
}
