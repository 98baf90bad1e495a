//! The files that stand for S3 objects.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use thiserror::Error;

use crate::dialect::copy::Load;

/// There is nothing to load from.
#[derive(Debug, Error)]
pub enum FilesError {
    /// Nobody said where S3 is.
    #[error("s3://{bucket}/{prefix} cannot be read: RSQL_S3_ROOT is not set")]
    NoRoot {
        /// The bucket.
        bucket: String,
        /// The prefix.
        prefix: String,
    },
    /// The path tries to leave the bucket.
    #[error("s3://{bucket}/{prefix} is not a valid S3 path")]
    Invalid {
        /// The bucket.
        bucket: String,
        /// The prefix.
        prefix: String,
    },
    /// No file matches.
    #[error("The specified S3 prefix '{prefix}' does not exist in {bucket}")]
    NotFound {
        /// The bucket's directory.
        bucket: PathBuf,
        /// The prefix.
        prefix: String,
    },
    /// A directory cannot be listed.
    #[error("cannot list {path}")]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl FilesError {
    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoRoot { .. } => {
                "Set RSQL_S3_ROOT to a directory that holds one directory per bucket, with the files below it."
            }
            Self::Invalid { .. } => "Bucket and key must not hold '..', and neither may be empty.",
            Self::NotFound { .. } | Self::Unreadable { .. } => {
                "Put the files below RSQL_S3_ROOT/BUCKET/, under the same keys as in S3."
            }
        }
    }
}

/// All files of a load, by name. Links that lead out of the bucket are passed over.
pub fn find_files(load: &Load, root: Option<&str>) -> Result<Vec<PathBuf>, FilesError> {
    let (bucket, prefix) = (load.bucket.clone(), load.prefix.clone());
    let Some(root) = root.filter(|root| !root.is_empty()) else {
        return Err(FilesError::NoRoot { bucket, prefix });
    };
    let climbs = |path: &str| path.split('/').any(|part| part == ".." || part == ".");
    if bucket.is_empty() || climbs(&bucket) || climbs(&prefix) || prefix.contains('\0') {
        return Err(FilesError::Invalid { bucket, prefix });
    }
    let not_found = |bucket: PathBuf| FilesError::NotFound { bucket, prefix: prefix.clone() };
    let bucket = Path::new(root).join(&bucket);
    let Ok(bucket) = bucket.canonicalize() else { return Err(not_found(bucket)) };
    // Only the directory that the prefix points into needs to be looked through.
    let start = prefix.rfind('/').map_or(bucket.clone(), |slash| bucket.join(&prefix[..slash]));
    let mut found = Vec::new();
    if start.is_dir() {
        walk(&start, &bucket, &prefix, &mut found)?;
    }
    found.sort();
    if found.is_empty() { Err(not_found(bucket)) } else { Ok(found) }
}

fn walk(directory: &Path, bucket: &Path, prefix: &str, found: &mut Vec<PathBuf>) -> Result<(), FilesError> {
    let unreadable = |source| FilesError::Unreadable { path: directory.to_owned(), source };
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let Some(key) = path.strip_prefix(bucket).ok().and_then(Path::to_str) else { continue };
        let Ok(real) = path.canonicalize() else { continue };
        if !real.starts_with(bucket) {
            continue;
        }
        if real.is_dir() {
            // A link to a directory could lead in circles.
            let is_link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
            if !is_link && (key.starts_with(prefix) || prefix.starts_with(key)) {
                walk(&path, bucket, prefix, found)?;
            }
        } else if key.starts_with(prefix) {
            found.push(path);
        }
    }
    Ok(())
}

/// Opens one of them.
pub fn open(path: &Path, gzip: bool) -> io::Result<Box<dyn BufRead>> {
    let file = BufReader::with_capacity(256 * 1024, File::open(path)?);
    Ok(if gzip { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) })
}
