//! Who else could change a script: as sshd's StrictModes, which looks at its key files the same way.
//!
//! Whoever can write to a script, or to a directory on the way to it, runs commands as the agent. So each of them must
//! belong to root or to the agent's user, and others must not be able to write to it. A group may where it is root's, or
//! the agent's own and nobody else's: with a private group per user and umask 002 that is every new file. A directory
//! above the scripts directory may be writable by all where its sticky bit keeps others from renaming what is in it, as in /tmp.
//! An access control list gives nobody more than that ([`acl`]).
//!
//! The check is made at each start and costs one system call per directory. Between it and the start of the script
//! nobody can change what was looked at except those who may.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::acl::{self, Who};
use super::group;

const STICKY: u32 = 0o1000;
const GROUP_WRITABLE: u32 = 0o020;
const WORLD_WRITABLE: u32 = 0o002;

/// A file or directory that others can change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ModesProblem {
    #[error(
        "{} belongs to uid {owner} (mode {mode:04o}), not to root or the agent's user (uid {user}); repair: \
         chown {user} {}", .path.display(), quoted(.path)
    )]
    Owner { path: PathBuf, owner: u32, mode: u32, user: u32 },
    #[error(
        "{} can be written by everyone (mode {mode:04o}, uid {owner}); repair: chmod o-w {}",
        .path.display(), quoted(.path)
    )]
    World { path: PathBuf, owner: u32, mode: u32 },
    #[error(
        "{} can be written by group {group} (mode {mode:04o}, uid {owner}), which is neither the agent's own nor \
         root's; repair: chmod g-w {}", .path.display(), quoted(.path)
    )]
    Group { path: PathBuf, owner: u32, group: u32, mode: u32 },
    #[error(
        "{} can be written by group {group} (mode {mode:04o}, uid {owner}), in which the agent is not alone: {others}; \
         repair: chmod g-w {}", .path.display(), quoted(.path)
    )]
    Members { path: PathBuf, owner: u32, group: u32, mode: u32, others: String },
    #[error(
        "{} can be written by {} through its access control list (mode {mode:04o}, uid {owner}); repair: setfacl -x {} {}",
        .path.display(), named(.who), entry(.who), quoted(.path)
    )]
    Listed { path: PathBuf, owner: u32, mode: u32, who: Who },
    #[error("{} cannot be looked at: {reason}", .path.display())]
    Unseen { path: PathBuf, reason: String },
}

/// Whom an agent trusts besides root: itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trusted {
    /// Its user.
    pub user: u32,
    /// Its group.
    pub group: u32,
}

impl Trusted {
    /// This process's effective user and group.
    pub fn own() -> Self {
        Self { user: rustix::process::geteuid().as_raw(), group: rustix::process::getegid().as_raw() }
    }

    /// Checks the scripts directory and everything above it. `directory` has no symbolic links in it.
    pub(crate) fn check_above(self, directory: &Path) -> Result<(), ModesProblem> {
        self.look(directory, false)?;
        directory.ancestors().skip(1).try_for_each(|above| self.look(above, true))
    }

    /// Checks the file and the directories between it and the scripts directory, on the way that was asked for (`path`)
    /// and where symbolic links lead (`real`).
    pub(crate) fn check_below(self, directory: &Path, path: &Path, real: &Path) -> Result<(), ModesProblem> {
        self.look(real, false)?;
        let between = |file: &Path| -> Vec<PathBuf> {
            let above = file.ancestors().skip(1).take_while(|above| *above != directory);
            above.filter(|above| above.starts_with(directory)).map(Path::to_owned).collect()
        };
        let mut all = between(real);
        if path != real {
            // The way asked for may have links to directories in it: what holds them counts, and where they lead.
            for above in between(path) {
                if let Ok(led) = above.canonicalize() {
                    all.extend(between(&led.join("x")));
                }
                all.push(above);
            }
        }
        all.iter().try_for_each(|above| self.look(above, false))?;
        self.check_links(directory, path)
    }

    /// A link that leads out of the scripts directory may lead back by another: whoever may write where that one lies
    /// decides where it leads.
    fn check_links(self, directory: &Path, path: &Path) -> Result<(), ModesProblem> {
        let mut at = path.to_owned();
        // The kernel follows no more.
        for _ in 0..40 {
            let (Ok(target), Some(parent)) = (at.read_link(), at.parent()) else { return Ok(()) };
            at = parent.join(target);
            let place = at.parent().and_then(|parent| parent.canonicalize().ok());
            if let Some(place) = place.filter(|place| !place.starts_with(directory)) {
                self.check_above(&place)?;
            }
        }
        Ok(())
    }

    /// `above`: whether the sticky bit excuses that everyone can write.
    fn look(self, path: &Path, above: bool) -> Result<(), ModesProblem> {
        let data = std::fs::metadata(path)
            .map_err(|error| ModesProblem::Unseen { path: path.to_owned(), reason: error.to_string() })?;
        self.judge(path, &data, above, |group| group::other_members(group, self.user))
    }

    /// `others` are the members of a group apart from the agent and root, who are asked for only where it matters.
    fn judge(
        self,
        path: &Path,
        data: &Metadata,
        above: bool,
        others: impl Fn(u32) -> Vec<String>,
    ) -> Result<(), ModesProblem> {
        let (owner, group, mode) = (data.uid(), data.gid(), data.mode() & 0o7777);
        let file = path;
        let path = || path.to_owned();
        if owner != 0 && owner != self.user {
            return Err(ModesProblem::Owner { path: path(), owner, mode, user: self.user });
        }
        if above && mode & STICKY != 0 {
            return Ok(());
        }
        if mode & WORLD_WRITABLE != 0 {
            return Err(ModesProblem::World { path: path(), owner, mode });
        }
        // With a list these bits are its mask: without them no entry of it lets anybody write.
        if mode & GROUP_WRITABLE == 0 {
            return Ok(());
        }
        let listed = acl::writers(file)
            .map_err(|error| ModesProblem::Unseen { path: path(), reason: error.to_string() })?;
        for who in listed.unwrap_or_else(|| vec![Who::OwnGroup]) {
            let trusted = match who {
                Who::User(user) => user == 0 || user == self.user,
                Who::Group(group) => group == 0 || group == self.group && others(group).is_empty(),
                Who::OwnGroup if group == 0 => true,
                Who::OwnGroup if group != self.group => {
                    return Err(ModesProblem::Group { path: path(), owner, group, mode });
                }
                Who::OwnGroup => {
                    let others = others(group);
                    if !others.is_empty() {
                        let others = others.join(", ");
                        return Err(ModesProblem::Members { path: path(), owner, group, mode, others });
                    }
                    true
                }
            };
            if !trusted {
                return Err(ModesProblem::Listed { path: path(), owner, mode, who });
            }
        }
        Ok(())
    }
}

fn named(who: &Who) -> String {
    match who {
        Who::User(id) => format!("user {id}"),
        Who::Group(id) => format!("group {id}"),
        Who::OwnGroup => "its group".into(),
    }
}

/// An entry as setfacl names it.
fn entry(who: &Who) -> String {
    match who {
        Who::User(id) => format!("u:{id}"),
        Who::Group(id) => format!("g:{id}"),
        Who::OwnGroup => "g:".into(),
    }
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:@%,".contains(&byte);
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct Dir {
        _temporary: tempfile::TempDir,
        scripts: PathBuf,
    }

    /// `scripts/sub/x.sh`, every mode as a umask of 022 makes it.
    fn dir() -> Dir {
        let temporary = tempfile::tempdir().unwrap();
        let scripts = temporary.path().canonicalize().unwrap().join("scripts");
        std::fs::create_dir_all(scripts.join("sub")).unwrap();
        std::fs::write(scripts.join("sub/x.sh"), "true").unwrap();
        for path in ["", "sub"] {
            set(&scripts.join(path), 0o755);
        }
        set(&scripts.join("sub/x.sh"), 0o644);
        Dir { _temporary: temporary, scripts }
    }

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn check(scripts: &Path, script: &str) -> Result<(), ModesProblem> {
        let trusted = Trusted::own();
        let path = scripts.join(script);
        trusted.check_above(scripts)?;
        trusted.check_below(scripts, &path, &path.canonicalize().unwrap())
    }

    #[test]
    fn only_what_others_can_change_is_refused() {
        let dir = dir();
        let scripts = &dir.scripts;
        let own = Trusted::own();
        let alone = own.group == 0 || group::other_members(own.group, own.user).is_empty();
        for (mode, fine) in [(0o755, true), (0o750, true), (0o775, alone), (0o777, false), (0o1777, false)] {
            for path in ["", "sub"] {
                set(&scripts.join(path), mode);
                assert_eq!(check(scripts, "sub/x.sh").is_ok(), fine, "{mode:o} {path}");
                set(&scripts.join(path), 0o755);
            }
        }
        for (mode, fine) in [(0o600, true), (0o664, alone), (0o666, false), (0o646, false)] {
            set(&scripts.join("sub/x.sh"), mode);
            assert_eq!(check(scripts, "sub/x.sh").is_ok(), fine, "{mode:o}");
        }
        let parent = scripts.parent().unwrap();
        set(&scripts.join("sub/x.sh"), 0o644);
        for (mode, fine) in [(0o1777, true), (0o777, false), (0o700, true)] {
            set(parent, mode);
            assert_eq!(check(scripts, "sub/x.sh").is_ok(), fine, "{mode:o} above");
        }
    }

    #[test]
    fn links_are_followed_and_their_places_count() {
        let dir = dir();
        let scripts = &dir.scripts;
        std::fs::create_dir(scripts.join("open")).unwrap();
        symlink("../sub/x.sh", scripts.join("open/link.sh")).unwrap();
        symlink("open", scripts.join("way")).unwrap();
        set(&scripts.join("open"), 0o755);
        assert_eq!(check(scripts, "open/link.sh"), Ok(()));
        set(&scripts.join("open"), 0o757);
        for script in ["open/link.sh", "way/link.sh"] {
            assert!(matches!(check(scripts, script), Err(ModesProblem::World { .. })), "{script}");
        }
        assert_eq!(check(scripts, "sub/x.sh"), Ok(()));
        set(&scripts.join("open"), 0o755);
        set(&scripts.join("sub"), 0o757);
        assert!(check(scripts, "open/link.sh").is_err());
    }

    #[test]
    fn a_link_by_way_of_elsewhere_is_judged_there_too() {
        let dir = dir();
        let scripts = &dir.scripts;
        let drop = scripts.parent().unwrap().join("drop");
        std::fs::create_dir(&drop).unwrap();
        symlink(scripts.join("sub/x.sh"), drop.join("way")).unwrap();
        symlink("../drop/way", scripts.join("x")).unwrap();
        set(&drop, 0o755);
        assert_eq!(check(scripts, "x"), Ok(()));
        set(&drop, 0o777);
        assert!(matches!(check(scripts, "x"), Err(ModesProblem::World { .. })));
    }

    #[test]
    fn a_list_that_lets_others_write_is_refused_on_every_file_and_directory() {
        let dir = dir();
        let scripts = &dir.scripts;
        // Root's group is always trusted, so with it only the list is judged.
        let own = Trusted::own();
        for path in ["sub/x.sh", "sub", "", ".."] {
            let path = scripts.join(path).canonicalize().unwrap();
            let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            let with = |named: &[(u16, u32, u16)], mask| {
                let set = acl::tests::set(&path, &acl::tests::list(4, named, mask));
                set.then(|| check(scripts, "sub/x.sh").map_err(|problem| problem.to_string()))
            };
            let Some(user) = with(&[(0x02, own.user + 1, 7)], 7) else { return };
            let user = user.unwrap_err();
            let repair = format!("setfacl -x u:{} {}", own.user + 1, path.display());
            assert!(user.contains("through its access control list") && user.ends_with(&repair), "{user}");
            let group = with(&[(0x08, own.group + 1, 6)], 7).unwrap().unwrap_err();
            assert!(
                group.ends_with(&format!("setfacl -x g:{} {}", own.group + 1, path.display())),
                "{group}"
            );
            for (named, mask) in [
                (&[(0x02, own.user + 1, 7)][..], 5),
                (&[(0x02, own.user + 1, 5), (0x08, own.group + 1, 5)], 7),
                (&[(0x02, own.user, 7), (0x02, 0, 7), (0x08, 0, 7)], 7),
            ] {
                assert_eq!(with(named, mask).unwrap(), Ok(()), "{named:?} {mask}");
            }
            rustix::fs::removexattr(&path, "system.posix_acl_access").unwrap();
            set(&path, mode);
        }
        assert_eq!(check(scripts, "sub/x.sh"), Ok(()));
    }

    #[test]
    fn owners_and_groups() {
        let dir = dir();
        let data = std::fs::metadata(&dir.scripts).unwrap();
        let judge = |user, group| Trusted { user, group }.judge(&dir.scripts, &data, false, |_| Vec::new());
        set(&dir.scripts, 0o775);
        let data = std::fs::metadata(&dir.scripts).unwrap();
        let shared = |group, others: &[&str]| {
            let others = |_| others.iter().map(|name| name.to_string()).collect();
            Trusted { user: data.uid(), group }.judge(&dir.scripts, &data, false, others)
        };
        let with_group = |group| shared(group, &[]);
        assert_eq!(judge(data.uid(), 1), Ok(()));
        assert_eq!(with_group(data.gid()), Ok(()));
        // Root's files and groups are always trusted, so as root there is nothing to refuse.
        if data.uid() != 0 {
            assert!(matches!(judge(data.uid() + 1, 1), Err(ModesProblem::Owner { .. })));
        }
        if data.gid() != 0 {
            assert!(matches!(with_group(data.gid() + 1), Err(ModesProblem::Group { .. })));
            assert!(matches!(shared(data.gid(), &["ann"]), Err(ModesProblem::Members { .. })));
        }
    }

    #[test]
    fn what_repairs_it_is_told() {
        let path = PathBuf::from("/srv/it's here/x.sh");
        let owner = ModesProblem::Owner { path: path.clone(), owner: 1001, mode: 0o755, user: 998 };
        let world = ModesProblem::World { path: path.clone(), owner: 998, mode: 0o666 };
        let group = ModesProblem::Group { path: "/srv/scripts".into(), owner: 998, group: 100, mode: 0o2775 };
        let (path, others) = ("/srv/scripts".into(), "ann, bob".into());
        let members = ModesProblem::Members { path, owner: 0, group: 997, mode: 0o770, others };
        let listed = |who| ModesProblem::Listed { path: "/srv/scripts".into(), owner: 0, mode: 0o775, who };
        let lists = format!("{}\n{}", listed(Who::User(1001)), listed(Who::Group(100)));
        insta::assert_snapshot!(format!("{owner}\n{world}\n{group}\n{members}\n{lists}"));
    }
}
