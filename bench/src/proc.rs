//! What `/proc` says about a process: memory and CPU time are the kernel's word, not ours.
//!
//! Resident memory counts pages that processes share once for each of them; the proportional size (PSS) divides a
//! shared page among those who share it, so that the sizes of many processes of one binary may be added.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::mib;

/// `USER_HZ`, the unit of times in `/proc/PID/stat`: 100 on every Linux that runs here.
/// <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory of a process, in MiB.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Resident.
    pub(crate) rss: f64,
    /// Resident, shared pages divided among those who share them.
    pub(crate) pss: f64,
    /// What would be free if it ended.
    pub(crate) private: f64,
    /// What it has written: the rest are pages of its program, which the kernel can drop and read again.
    pub(crate) anonymous: f64,
}

/// Memory of a process now.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let size = |name: &str| kib(&text, name).map(|kib| mib(kib * 1024));
    let private = size("Private_Clean:")? + size("Private_Dirty:")?;
    Ok(Memory { rss: size("Rss:")?, pss: size("Pss:")?, private, anonymous: size("Anonymous:")? })
}

/// Most resident memory since the process began or since [`forget_peak`], in MiB.
pub(crate) fn peak(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(mib(kib(&status, "VmHWM:")? * 1024))
}

/// From here on the peak counts anew.
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    // <https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html>
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

/// User and system time of all its threads, ended ones too, to a hundredth of a second.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; what follows it is counted from field 3.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| -> Result<f64> { Ok(fields.get(field - 3).context("no time")?.parse()?) };
    Ok((ticks(14)? + ticks(15)?) / TICKS_PER_SECOND)
}

/// The processes whose program has this file name and whose parent is `parent`.
pub(crate) fn children(parent: u32, program: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let of = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
            let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            of == Some(parent) && Path::new(exe.file_name().unwrap_or_default()) == Path::new(program)
        })
        .collect()
}

fn kib(text: &str, name: &str) -> Result<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("/proc does not say {name}"))
}
