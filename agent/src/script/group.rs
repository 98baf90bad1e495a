//! Who else is in the agent's group.
//!
//! Looked up in the two files of this host, because a name service may ask the network while a job waits to start:
//! members that only a directory server knows are not seen, which docs/install.md says. Where a file cannot be read
//! nobody is found.

/// Users besides `user` who are in the group, by a line in /etc/group or as their own first group in /etc/passwd.
pub(super) fn other_members(group: u32, user: u32) -> Vec<String> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    find(&read("/etc/group"), &read("/etc/passwd"), group, user)
}

/// <https://man7.org/linux/man-pages/man5/group.5.html>, <https://man7.org/linux/man-pages/man5/passwd.5.html>
fn find(groups: &str, users: &str, group: u32, user: u32) -> Vec<String> {
    let users: Vec<(&str, Option<u32>, Option<u32>)> = users
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _, own, first) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            Some((name, own.parse().ok(), first.parse().ok()))
        })
        .collect();
    let is_trusted =
        |name: &str| users.iter().any(|(known, own, _)| *known == name && is_root_or(*own, user));
    let listed = groups.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(2);
        (fields.next()?.parse() == Ok(group)).then(|| fields.next().unwrap_or_default())
    });
    let first = users.iter().filter(|(.., first)| *first == Some(group)).map(|(name, ..)| *name);
    let mut others: Vec<String> = listed
        .flat_map(|names| names.split(',').map(str::trim))
        .chain(first)
        .filter(|name| !name.is_empty() && !is_trusted(name))
        .map(str::to_owned)
        .collect();
    others.sort_unstable();
    others.dedup();
    others
}

fn is_root_or(own: Option<u32>, user: u32) -> bool {
    own.is_some_and(|own| own == 0 || own == user)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nrsqlflow:x:997:997::/var/lib/rsqlflow:/usr/sbin/nologin\n\
                         ann:x:1000:1000::/home/ann:/bin/sh\nbob:x:1001:997::/home/bob:/bin/sh\nbroken\n";

    #[test]
    fn members_are_those_listed_and_those_who_begin_there() {
        let groups = "root:x:0:\nrsqlflow:x:997:root,ann,gone\nann:x:1000:\nbroken:x\n";
        assert_eq!(find(groups, USERS, 997, 997), ["ann", "bob", "gone"]);
        assert!(find(groups, USERS, 1000, 1000).is_empty(), "a group of one's own");
        assert_eq!(find(groups, USERS, 1000, 997), ["ann"]);
        assert!(find("", "", 997, 997).is_empty());
    }
}
