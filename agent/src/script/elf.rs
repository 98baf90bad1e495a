//! Whether a binary program can run here, read from its own header: the kernel would say no more than "Exec format
//! error", or that the program itself does not exist where its loader is missing.
//!
//! Layout: <https://man7.org/linux/man-pages/man5/elf.5.html>. It says nothing about what it cannot read for sure.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What is wrong with a program.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ElfProblem {
    Broken(&'static str),
    OtherArchitecture(String),
    NoLoader(String),
}

/// Numbers of `e_machine` and what they are called on Linux, those that people copy by mistake.
const MACHINES: [(u16, &str); 9] = [
    (3, "x86"),
    (8, "mips"),
    (21, "powerpc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv64"),
    (258, "loongarch64"),
];

/// Processors that run the programs of another as well.
const ALSO: [(&str, &str); 2] = [("x86_64", "x86"), ("aarch64", "arm")];

const PT_INTERP: u32 = 3;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;

/// Most program headers and longest loader path that are looked at.
const HEADERS_MAX: u16 = 128;
const LOADER_MAX: u64 = 4096;

/// Checks a program for this host.
pub(super) fn check(file: &File) -> Result<(), ElfProblem> {
    check_for(file, std::env::consts::ARCH, runs_foreign_programs())
}

/// Whether the kernel was told of interpreters of foreign programs, such as qemu.
/// <https://docs.kernel.org/admin-guide/binfmt-misc.html>
fn runs_foreign_programs() -> bool {
    let Ok(entries) = std::fs::read_dir("/proc/sys/fs/binfmt_misc") else { return false };
    entries.flatten().any(|entry| !["register", "status"].iter().any(|own| entry.file_name() == *own))
}

fn check_for(file: &File, host: &str, foreign: bool) -> Result<(), ElfProblem> {
    let mut head = [0; 64];
    let cut = ElfProblem::Broken("its header is cut short; copy it again");
    let whole = file.read_exact_at(&mut head[..52], 0).is_ok();
    if !whole {
        return Err(cut);
    }
    let (wide, big) = match (head[4], head[5]) {
        (1, 1) => (false, false),
        (1, 2) => (false, true),
        (2, 1) => (true, false),
        (2, 2) => (true, true),
        _ => return Err(ElfProblem::Broken("its header is damaged; copy it again")),
    };
    if wide && file.read_exact_at(&mut head, 0).is_err() {
        return Err(cut);
    }
    let number = |bytes: &[u8]| {
        let fold = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        if big { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) }
    };
    let short = |at: usize| u16::try_from(number(&head[at..at + 2])).unwrap_or(0);
    let machine = short(18);
    let name = MACHINES.iter().find(|(known, _)| *known == machine).map(|(_, name)| *name);
    let fits = name.is_some_and(|name| name == host || ALSO.contains(&(host, name)));
    // A host that is not in the table is left to the kernel.
    let known_host = MACHINES.iter().any(|(_, name)| *name == host);
    if known_host && !fits && !foreign {
        let name = name.map_or_else(|| format!("machine type {machine}"), str::to_owned);
        return Err(ElfProblem::OtherArchitecture(name));
    }
    if ![ET_EXEC, ET_DYN].contains(&short(16)) {
        return Err(ElfProblem::Broken("it is an object file that was not linked"));
    }
    let (offset, size, count) = if wide {
        (number(&head[32..40]), short(54), short(56))
    } else {
        (number(&head[28..32]), short(42), short(44))
    };
    let mut entry = [0; 56];
    let entry_size = if wide { 56 } else { 32 };
    if count == 0 || usize::from(size) < entry_size {
        return Err(ElfProblem::Broken("it has no program headers; copy it again"));
    }
    for index in 0..count.min(HEADERS_MAX) {
        let at = offset.saturating_add(u64::from(index) * u64::from(size));
        if file.read_exact_at(&mut entry[..entry_size], at).is_err() {
            return Err(ElfProblem::Broken("it is cut short; copy it again"));
        }
        if number(&entry[..4]) != u64::from(PT_INTERP) {
            continue;
        }
        let (at, length) = if wide {
            (number(&entry[8..16]), number(&entry[32..40]))
        } else {
            (number(&entry[4..8]), number(&entry[16..20]))
        };
        let mut loader = vec![0; usize::try_from(length.min(LOADER_MAX)).unwrap_or(0)];
        if file.read_exact_at(&mut loader, at).is_err() {
            return Err(ElfProblem::Broken("it is cut short; copy it again"));
        }
        let loader = String::from_utf8_lossy(&loader).trim_end_matches('\0').to_owned();
        if fits && !Path::new(&loader).exists() {
            return Err(ElfProblem::NoLoader(loader));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        file
    }

    /// A 64-bit program with a loader, as a linker lays it out.
    fn program(machine: u16, loader: &str) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[16..18].copy_from_slice(&ET_DYN.to_le_bytes());
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1u16.to_le_bytes());
        bytes[64..68].copy_from_slice(&PT_INTERP.to_le_bytes());
        bytes[72..80].copy_from_slice(&120u64.to_le_bytes());
        bytes[96..104].copy_from_slice(&(loader.len() as u64 + 1).to_le_bytes());
        bytes.extend(loader.bytes().chain([0]));
        bytes
    }

    #[test]
    fn programs_of_this_host_are_fine() {
        let own = File::open(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(check(&own), Ok(()));
        assert_eq!(check_for(&file(&program(3, "/")), "x86_64", false), Ok(()));
    }

    #[test]
    fn others_are_not() {
        let arm = file(&program(183, "/lib/ld-linux-aarch64.so.1"));
        let other = Err(ElfProblem::OtherArchitecture("aarch64".into()));
        assert_eq!(check_for(&arm, "x86_64", false), other);
        assert_eq!(check_for(&arm, "x86_64", true), Ok(()), "qemu may run it");
        assert_eq!(check_for(&arm, "sparc64", false), Ok(()), "nothing is known of this host");
        let none = Err(ElfProblem::NoLoader("/lib/ld-none.so.1".into()));
        assert_eq!(check_for(&file(&program(62, "/lib/ld-none.so.1")), "x86_64", false), none);
    }

    #[test]
    fn what_is_cut_short_is_broken() {
        let whole = program(62, "/");
        for length in 0..whole.len() - 1 {
            let problem = check_for(&file(&whole[..length]), "x86_64", false);
            assert!(matches!(problem, Err(ElfProblem::Broken(_))), "{length}: {problem:?}");
        }
        let mut object = whole;
        object[16] = 1;
        assert!(matches!(check_for(&file(&object), "x86_64", false), Err(ElfProblem::Broken(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(
            flips in prop::collection::vec((0usize..122, any::<u8>()), 0..12),
            length in 0usize..122,
        ) {
            let mut bytes = program(62, "/");
            for (at, byte) in flips {
                bytes[at] = byte;
            }
            let _ = check_for(&file(&bytes[..length]), "x86_64", false);
        }
    }
}
