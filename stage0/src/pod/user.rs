//! Users and groups by the image's own account files.

use std::path::Path;

use anyhow::{Context, Result};

use super::tree::Tree;

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
        assert!(error.contains("unable to stat /none"), "{error}");
        let error = format!("{:#}", find_user(&tree, "user2").unwrap_err());
        assert_eq!(error, "\"user2\" user not found");
    }
}
