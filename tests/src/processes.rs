//! Which processes belong to a site: those that run in it, were started from it or were told of it.
//!
//! Read from `/proc`. Whatever an agent starts has the site's directory in its working directory, its command line or
//! its environment, and keeps it when it forks, changes its session or loses its parent.

use std::path::Path;

/// A process that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its command line, for messages.
    pub command: String,
}

/// The processes of the site in `directory`, without this one and without `known` ones.
///
/// # Panics
/// Without `/proc`.
pub fn of_site(directory: &Path, known: &[u32]) -> Vec<Process> {
    let directory = directory.as_os_str().as_encoded_bytes();
    let of_site = |pid: u32| {
        let proc = Path::new("/proc").join(pid.to_string());
        let cwd = std::fs::read_link(proc.join("cwd")).unwrap_or_default();
        let command = std::fs::read(proc.join("cmdline")).unwrap_or_default();
        let environment = std::fs::read(proc.join("environ")).unwrap_or_default();
        let told = [cwd.as_os_str().as_encoded_bytes(), &command, &environment]
            .iter()
            .any(|text| text.windows(directory.len()).any(|part| part == directory));
        told.then(|| Process { pid, command: String::from_utf8_lossy(&command).replace('\0', " ") })
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id() && !known.contains(pid))
        .filter_map(of_site)
        .collect()
}

/// Whether a process lives; one that only waits to be counted by its parent does not.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name in parentheses, which may hold anything.
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}
