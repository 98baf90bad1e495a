//! How other commands on this machine find a served endpoint.
//!
//! `endpoint.json` in the data directory says where it is and with which key. It is believed only while the process
//! it names really holds the directory's lock, so what a killed process left behind misleads nobody.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data_dir::{DataDirError, held_by, replace_private_file};

const FILE: &str = "endpoint.json";

/// A served endpoint. `Debug` leaves the secret out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// For instance `http://127.0.0.1:4566`.
    pub url: String,
    /// The region to configure clients with.
    pub region: String,
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
    /// The process that serves.
    pub pid: u32,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.url)
            .field("region", &self.region)
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &"[hidden]")
            .field("pid", &self.pid)
            .finish()
    }
}

/// The endpoint that is being served from `data_dir` at this moment.
pub fn discover(data_dir: &Path) -> Option<Endpoint> {
    let content = std::fs::read(data_dir.join(FILE)).ok()?;
    let endpoint: Endpoint = serde_json::from_slice(&content).ok()?;
    (held_by(data_dir)? == endpoint.pid).then_some(endpoint)
}

/// The written announcement; dropping it takes it back.
#[derive(Debug)]
pub(super) struct Announcement(PathBuf);

impl Announcement {
    pub(super) fn write(data_dir: &Path, endpoint: &Endpoint) -> Result<Self, DataDirError> {
        let path = data_dir.join(FILE);
        replace_private_file(&path, &serde_json::to_vec_pretty(endpoint).unwrap_or_default())?;
        Ok(Self(path))
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // Whoever reads what cannot be removed finds the lock free.
        let _ = std::fs::remove_file(&self.0);
    }
}
