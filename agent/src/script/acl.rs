//! POSIX access control lists, as the kernel hands them out: who may write besides owner, group and others.
//!
//! Read from the extended attribute, because the library that is made for it is C's, and the format is eight bytes an
//! entry: <https://github.com/torvalds/linux/blob/master/include/uapi/linux/posix_acl_xattr.h>. A default list on a
//! directory is for files that are yet to be made and gives no right to anything that is there.
//!
//! Lists of NFS version 4 and of SMB stay with their servers and are not looked at.

use std::path::Path;

use rustix::fs::getxattr;
use rustix::io::Errno;

const ATTRIBUTE: &str = "system.posix_acl_access";

/// Longest value of an attribute. <https://man7.org/linux/man-pages/man7/xattr.7.html>
const VALUE_MAX: usize = 64 * 1024;

/// Enough for all but a few.
const VALUE_USUAL: usize = 1024;

const VERSION: [u8; 4] = 2u32.to_le_bytes();

const WRITE: u16 = 2;

/// To whom an entry gives its rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// A user, by id.
    User(u32),
    /// A group, by id.
    Group(u32),
    /// The group that the file belongs to.
    OwnGroup,
}

/// Those who may write by a list, apart from the owner and everyone; nothing where there is no list.
pub(super) fn writers(path: &Path) -> std::io::Result<Option<Vec<Who>>> {
    let mut value = vec![0; VALUE_USUAL];
    let mut length = getxattr(path, ATTRIBUTE, &mut value[..]);
    if length == Err(Errno::RANGE) {
        value = vec![0; VALUE_MAX];
        length = getxattr(path, ATTRIBUTE, &mut value[..]);
    }
    match length {
        Ok(length) => {
            let unknown = || std::io::Error::other("its access control list is in a form that is not known");
            parse(&value[..length]).map(Some).ok_or_else(unknown)
        }
        // No list; a file system without lists.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn parse(value: &[u8]) -> Option<Vec<Who>> {
    let (entries, rest) = value.strip_prefix(&VERSION)?.as_chunks::<8>();
    if !rest.is_empty() {
        return None;
    }
    // What the mask does not have, no entry but the owner's and everyone's gives.
    let mut mask = u16::MAX;
    let mut all = Vec::new();
    for [tag, tag_high, rights, rights_high, id @ ..] in entries {
        let (tag, rights) =
            (u16::from_le_bytes([*tag, *tag_high]), u16::from_le_bytes([*rights, *rights_high]));
        let id = u32::from_le_bytes(*id);
        match tag {
            // Owner and everyone, whom the mode has too.
            0x01 | 0x20 => {}
            0x02 => all.push((Who::User(id), rights)),
            0x04 => all.push((Who::OwnGroup, rights)),
            0x08 => all.push((Who::Group(id), rights)),
            0x10 => mask = rights,
            _ => return None,
        }
    }
    Some(all.into_iter().filter(|(_, rights)| rights & mask & WRITE != 0).map(|(who, _)| who).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use rustix::fs::{XattrFlags, setxattr};

    use super::*;

    /// A list with the usual entries, these users and groups (tag, id, rights) and a mask.
    pub(in crate::script) fn list(own_group: u16, named: &[(u16, u32, u16)], mask: u16) -> Vec<u8> {
        let nobody = u32::MAX;
        let mut all =
            [(0x01, nobody, 7), (0x04, nobody, own_group), (0x10, nobody, mask), (0x20, nobody, 5)].to_vec();
        all.extend_from_slice(named);
        // The kernel takes them in this order only.
        all.sort_by_key(|(tag, id, _)| (*tag, *id));
        let entries = all.iter().flat_map(|(tag, id, rights)| {
            [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
        });
        VERSION.into_iter().chain(entries).collect()
    }

    /// Gives a file a list; false, and said loudly, where the file system has none.
    pub(in crate::script) fn set(path: &Path, list: &[u8]) -> bool {
        match setxattr(path, ATTRIBUTE, list, XattrFlags::empty()) {
            Ok(()) => true,
            Err(Errno::OPNOTSUPP) => {
                eprintln!("SKIPPED: the file system of {} has no access control lists", path.display());
                false
            }
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }

    #[test]
    fn those_are_found_who_may_write_with_the_mask() {
        let all = [(0x02, 1001, 7), (0x02, 1002, 5), (0x08, 100, 2)];
        let both = vec![Who::User(1001), Who::OwnGroup, Who::Group(100)];
        assert_eq!(parse(&list(6, &all, 7)), Some(both));
        assert_eq!(parse(&list(6, &all, 5)), Some(Vec::new()), "the mask takes it away");
        assert_eq!(parse(&list(4, &[], 7)), Some(Vec::new()));
        for broken in
            [&b""[..], &[1, 0, 0, 0], &list(6, &all, 7)[..11], &[2, 0, 0, 0, 3, 0, 7, 0, 0, 0, 0, 0]]
        {
            assert_eq!(parse(broken), None);
        }
    }

    #[test]
    fn a_file_without_a_list_has_no_writers_by_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(writers(file.path()).unwrap(), None);
        // More than fits at the first try.
        let many: Vec<_> = (2000..2200).map(|id| (0x02, id, 6)).collect();
        if set(file.path(), &list(4, &many, 6)) {
            assert_eq!(writers(file.path()).unwrap().map(|who| who.len()), Some(200));
        }
        assert!(writers(Path::new("/nonexistent")).is_err());
    }

    proptest! {
        #[test]
        fn no_value_panics(mut value in proptest::collection::vec(any::<u8>(), 0..100), version: bool) {
            if version && value.len() >= 4 {
                value[..4].copy_from_slice(&VERSION);
            }
            let _ = parse(&value);
        }
    }
}
