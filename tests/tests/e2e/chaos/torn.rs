//! What becomes of a journal between two lives of its daemon.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rsqlflow_tests::random::Random;

/// What becomes of it.
#[derive(Debug, Clone, Copy)]
enum Form {
    Empty,
    Missing,
    MissingWithItsLog,
    GarbageInItsLog,
    WithoutItsLog,
    LogCut,
    HeaderTorn,
    Cut,
    RowsThatDoNotParse,
    OlderCopy,
    Directory,
}

const FORMS: [Form; 11] = [
    Form::Empty,
    Form::Missing,
    Form::MissingWithItsLog,
    Form::GarbageInItsLog,
    Form::WithoutItsLog,
    Form::LogCut,
    Form::HeaderTorn,
    Form::Cut,
    Form::RowsThatDoNotParse,
    Form::OlderCopy,
    Form::Directory,
];

/// A journal of which no daemon is at work.
pub(super) struct Journal {
    file: PathBuf,
    /// The database and its log as they were at an earlier end of the daemon.
    earlier: Option<[Vec<u8>; 2]>,
    next: usize,
}

impl Journal {
    pub(super) fn of(data_dir: &Path) -> Self {
        Self { file: data_dir.join("journal.db"), earlier: None, next: 0 }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    fn log(&self) -> PathBuf {
        self.file.with_extension("db-wal")
    }

    /// Tears it, in each form in turn; answers which.
    pub(super) fn tear(&mut self, random: &mut Random) -> String {
        let form = FORMS[self.next % FORMS.len()];
        self.next += 1;
        // Where the daemon had not come so far there is nothing to tear.
        let now = [&self.file, &self.log()].map(|file| fs::read(file).unwrap_or_default());
        match form {
            Form::Empty => fs::write(&self.file, "").unwrap(),
            Form::Missing => remove(&self.file),
            Form::MissingWithItsLog => {
                remove(&self.file);
                remove(&self.log());
            }
            Form::GarbageInItsLog => fs::write(self.log(), [0xa5; 2000]).unwrap(),
            Form::WithoutItsLog => remove(&self.log()),
            Form::LogCut => cut(&self.log(), random),
            Form::HeaderTorn => write_over(&self.file, &[0; 50]),
            Form::Cut => cut(&self.file, random),
            Form::RowsThatDoNotParse => {
                let mut bytes = now[0].clone();
                let wrong: &[u8] = b"{\"versiom\":1";
                for at in 0..bytes.len().saturating_sub(wrong.len()) {
                    if bytes[at..].starts_with(b"{\"version\":1") {
                        bytes[at..at + wrong.len()].copy_from_slice(wrong);
                    }
                }
                write_over(&self.file, &bytes);
            }
            Form::OlderCopy => {
                if let Some([database, log]) = &self.earlier {
                    fs::write(&self.file, database).unwrap();
                    fs::write(self.log(), log).unwrap();
                }
            }
            Form::Directory => {
                remove(&self.file);
                fs::create_dir(&self.file).unwrap();
            }
        }
        if !now[0].is_empty() {
            self.earlier = Some(now);
        }
        format!("{form:?}")
    }
}

fn remove(file: &Path) {
    // It may not be there yet.
    let _ = fs::remove_file(file);
}

fn cut(file: &Path, random: &mut Random) {
    if let Ok(file) = File::options().write(true).open(file) {
        let length = file.metadata().unwrap().len();
        file.set_len(random.between(0, length)).unwrap();
    }
}

fn write_over(file: &Path, bytes: &[u8]) {
    if let Ok(file) = File::options().write(true).open(file) {
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).unwrap();
    }
}
