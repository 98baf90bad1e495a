//! The access key of one data directory.
//!
//! Made at random on first use and kept in a file only we may read: whoever can read the data directory may use the
//! endpoint, nobody else. The access key id starts with letters AWS does not issue, so a local key that ends up in a
//! report is recognised.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data_dir::{DataDirError, failed, replace_private_file};

/// An access key. `Debug` leaves the secret out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalCredentials {
    /// For instance `LOCAL0123456789ABCDEF`.
    pub access_key_id: String,
    /// Forty characters.
    pub secret_access_key: String,
}

impl LocalCredentials {
    /// Reads the directory's key, or makes one.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn load_or_create(data_dir: &Path) -> Result<Self, DataDirError> {
        let path = data_dir.join("credentials.json");
        match std::fs::read(&path) {
            Ok(content) => {
                if let Ok(known) = serde_json::from_slice(&content) {
                    return Ok(known);
                }
                tracing::warn!(path = %path.display(), "the access key cannot be read and is made anew");
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read", &path)(error)),
        }
        let made = Self::random();
        let content = serde_json::to_vec_pretty(&made).unwrap_or_default();
        replace_private_file(&path, &content)?;
        Ok(made)
    }

    fn random() -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string().to_uppercase();
        Self { access_key_id: format!("LOCAL{}", &id[..15]), secret_access_key: random_text(40) }
    }
}

/// At most 43 characters that nobody can guess, from the operating system's generator.
pub(crate) fn random_text(characters: usize) -> String {
    let mut hash = Sha256::new();
    // Each carries 122 random bits; three fill the hash.
    for _ in 0..3 {
        hash.update(uuid::Uuid::new_v4().as_bytes());
    }
    let mut text = URL_SAFE_NO_PAD.encode(hash.finalize());
    text.truncate(characters);
    text
}

impl std::fmt::Debug for LocalCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalCredentials")
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &"[hidden]")
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let first = LocalCredentials::load_or_create(dir.path()).unwrap();
        let second = LocalCredentials::load_or_create(dir.path()).unwrap();
        assert!(first == second);
        assert_eq!((first.access_key_id.len(), first.secret_access_key.len()), (20, 40));
        assert!(!format!("{first:?}").contains(&first.secret_access_key));
    }
}
