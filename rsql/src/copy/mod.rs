//! Carrying out `COPY ... FROM 's3://bucket/prefix'` with local files.
//!
//! `RSQL_S3_ROOT` names a directory that stands for S3: `s3://bucket/prefix` is every file below
//! `$RSQL_S3_ROOT/bucket/` whose path begins with `prefix`, as S3 has it. Records are read by Redshift's rules,
//! where they differ from PostgreSQL's (an empty field is NULL for a number but empty text for a
//! varchar, a delimiter at a line's end is ignored, a backslash means itself unless ESCAPE says
//! otherwise) and handed on in PostgreSQL's text format. One record is in memory at a time.

mod encode;
mod files;
mod records;

pub use encode::{Encoder, TargetColumn};
pub use files::{FilesError, find_files, open};
pub use records::{Fields, RecordError, Records};

#[cfg(test)]
mod tests;
