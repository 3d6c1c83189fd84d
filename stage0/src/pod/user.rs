//! Users and groups by the image's own account files.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::tree::Tree;

/// Most supplementary groups of a process (`NGROUPS_MAX`, getgroups(2)).
const GROUPS_MAX: usize = 65536;

/// A line of the image's `/etc/passwd` (passwd(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User ID.
    pub uid: u32,
    /// Home directory, a path of the image.
    pub home: String,
}

/// Whom an app runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User ID.
    pub uid: u32,
    /// The account in the image's `/etc/passwd`, where it has one.
    pub account: Option<Account>,
}

/// Finds a user: `root`, the owner of a path of the image, a name of its `/etc/passwd`, or a
/// number (appc spec, "app", `user`).
///
/// # Errors
/// Where there is no such user.
pub fn find_user(tree: &Tree, user: &str) -> Result<User> {
    let passwd = tree.read("/etc/passwd")?.unwrap_or_default();
    let uid = if user.starts_with('/') {
        tree.owner(Path::new(user))?.0
    } else {
        number_of(user, 2, &passwd).with_context(|| format!("{user:?} user not found"))?
    };
    Ok(User {
        uid,
        account: account_of(uid, &passwd),
    })
}

/// Finds a group: as [`find_user`], by the image's `/etc/group`.
///
/// # Errors
/// Where there is no such group.
pub fn find_group(tree: &Tree, group: &str) -> Result<u32> {
    if group.starts_with('/') {
        return Ok(tree.owner(Path::new(group))?.1);
    }
    let table = tree.read("/etc/group")?.unwrap_or_default();
    number_of(group, 2, &table).with_context(|| format!("{group:?} group not found"))
}

/// The groups of a user for whom the image names none: the primary one of the account, and those
/// of `/etc/group` that list it (image-spec, config.md, `User`). A user without an account
/// belongs to group 0 alone, as in Docker.
///
/// # Errors
/// Where the image's account files cannot be read.
pub fn own_groups(tree: &Tree, user: &str, uid: u32) -> Result<(u32, Vec<u32>)> {
    let passwd = tree.read("/etc/passwd")?.unwrap_or_default();
    let group = tree.read("/etc/group")?.unwrap_or_default();
    let (gid, supplementary) = groups_of(user, uid, &passwd, &group);
    ensure!(
        supplementary.len() <= GROUPS_MAX,
        "{user:?} belongs to {} groups; at most {GROUPS_MAX} are possible",
        supplementary.len()
    );
    Ok((gid, supplementary))
}

/// As [`own_groups`], by the text of the two files.
fn groups_of(user: &str, uid: u32, passwd: &str, group: &str) -> (u32, Vec<u32>) {
    let accounts = || {
        passwd.lines().filter_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let [name, _, listed, gid, ..] = fields[..] else {
                return None;
            };
            let (listed, gid): (u32, u32) = (listed.parse().ok()?, gid.parse().ok()?);
            (listed == uid && gid != u32::MAX).then_some((name, gid))
        })
    };
    // Several accounts may have one number.
    let named = accounts().find(|(name, _)| *name == user);
    let Some((name, gid)) = named.or_else(|| accounts().next()) else {
        return (0, Vec::new());
    };
    let mut supplementary: Vec<u32> = Vec::new();
    let mut known = HashSet::from([gid, u32::MAX]);
    for line in group.lines() {
        let fields: Vec<_> = line.split(':').collect();
        let [_, _, listed, members, ..] = fields[..] else {
            continue;
        };
        let Ok(listed) = listed.parse() else {
            continue;
        };
        if members.split(',').any(|member| member == name) && known.insert(listed) {
            supplementary.push(listed);
        }
    }
    (gid, supplementary)
}

/// The number of `name` in a table of colon-separated lines, or `name` itself where it is one.
fn number_of(name: &str, field: usize, table: &str) -> Option<u32> {
    if name == "root" {
        return Some(0);
    }
    let listed = table.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        fields.nth(field - 1)?.parse().ok()
    });
    // The highest number means "no change" to setuid(2) and chown(2).
    listed
        .or_else(|| name.parse().ok())
        .filter(|number| *number != u32::MAX)
}

fn account_of(uid: u32, passwd: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, listed, _, _, home, ..] = fields[..] else {
            return None;
        };
        (listed.parse() == Ok(uid)).then(|| Account {
            name: name.to_string(),
            uid,
            home: home.to_string(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nweb:x:33:33::/var/www:/bin/sh\n\
                          77:x:12:12::/:/bin/sh\nbroken\nbad:x:many:1::/:/bin/sh\n";

    #[test]
    fn names_come_before_numbers() {
        assert_eq!(number_of("web", 2, PASSWD), Some(33));
        assert_eq!(number_of("77", 2, PASSWD), Some(12));
        assert_eq!(number_of("1000", 2, PASSWD), Some(1000));
        assert_eq!(number_of("root", 2, ""), Some(0));
        for unknown in ["nobody", "bad", "-1", "4294967295", ""] {
            assert_eq!(number_of(unknown, 2, PASSWD), None, "{unknown:?}");
        }
    }

    #[test]
    fn accounts_are_found_by_number() {
        let account = account_of(33, PASSWD).unwrap();
        assert_eq!(
            (account.name.as_str(), account.home.as_str()),
            ("web", "/var/www")
        );
        assert_eq!(account_of(1000, PASSWD), None);
    }

    #[test]
    fn own_groups_are_the_account_s() {
        let passwd = "root:x:0:0::/:\ntoor:x:0:9::/:\nweb:x:33:34::/:\nbad:x:50:x::/:\n\
                      max:x:51:4294967295::/:\nshort:x:52\n";
        let group = "root:x:0:root\nadm:x:4:toor,web\nown:x:34:web\nvideo:x:44:web\n\
                     also:x:44:web\nbad:x:y:web\nshort:x:7\nwe:x:8:webb,we\nmax:x:4294967295:web\n";
        for (user, uid, gid, supplementary) in [
            ("web", 33, 34, &[4, 44][..]),
            ("33", 33, 34, &[4, 44]),
            ("root", 0, 0, &[]),
            ("0", 0, 0, &[]),
            ("toor", 0, 9, &[4]),
            ("1000", 1000, 0, &[]),
            ("bad", 50, 0, &[]),
            ("max", 51, 0, &[]),
            ("short", 52, 0, &[]),
        ] {
            let expected = (gid, supplementary.to_vec());
            assert_eq!(groups_of(user, uid, passwd, group), expected, "{user}");
        }
        assert_eq!(groups_of("web", 33, "", ""), (0, Vec::new()));
    }

    #[test]
    fn a_path_means_its_owner() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("f"), "").unwrap();
        std::os::unix::fs::chown(root.path().join("f"), Some(12), Some(13)).unwrap();
        std::os::unix::fs::symlink("/f", root.path().join("l")).unwrap();
        let tree = Tree::open(root.path()).unwrap();
        assert_eq!(find_user(&tree, "/f").unwrap().uid, 12);
        assert_eq!(find_group(&tree, "/f").unwrap(), 13);
        assert_eq!(find_user(&tree, "/l").unwrap().uid, 0, "the link itself");
        let error = format!("{:#}", find_user(&tree, "/none").unwrap_err());
        assert!(error.contains("unable to stat \"/none\""), "{error}");
        let error = format!("{:#}", find_user(&tree, "user2").unwrap_err());
        assert_eq!(error, "\"user2\" user not found");
    }
}
