//! An app's environment: pure.

use std::path::Path;

use stage1_skim::pod::EnvVar;

use super::programs;
use super::user::User;

/// Where the host's programs are, as systemd's own default (`DEFAULT_PATH`).
const HOST_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an app's environment is made of.
pub struct Sources<'a> {
    /// The app's name.
    pub app: &'a str,
    /// Where the image is for the app: its rootfs, or `/`.
    pub root: &'a Path,
    /// Whom the app runs as.
    pub user: &'a User,
    /// Whether the image has the user's home directory.
    pub has_home: bool,
    /// What the image's interpreters have to be told (`image::hints`).
    pub hints: Vec<(String, String)>,
    /// Variables that were set, by those who set them: those of a later layer win over those of
    /// an earlier one, and within a layer the last one.
    pub layers: Vec<Vec<(String, String)>>,
}

/// The app's environment: what was set wins over skim's defaults, to which the hints belong.
///
/// `PATH` names the rootfs' directories first, then the same ones of the host, then the host's
/// default: what the image lacks, such as iptables or modprobe, is the host's. An app for which
/// the image is `/` has no other.
pub fn compose(sources: &Sources<'_>) -> Vec<EnvVar> {
    let defaults = defaults(sources).into_iter();
    let defaults = defaults.map(|(name, value)| (name.to_string(), value));
    let mut environment: Vec<EnvVar> = defaults
        .chain(sources.hints.iter().cloned())
        .map(|(name, value)| EnvVar {
            name,
            value,
            default: true,
        })
        .collect();
    for (name, value) in sources.layers.iter().flatten() {
        let set = EnvVar {
            name: name.clone(),
            value: value.clone(),
            default: false,
        };
        match environment.iter_mut().find(|known| known.name == *name) {
            Some(known) => *known = set,
            None => environment.push(set),
        }
    }
    if sources.root != Path::new("/") {
        let path = environment
            .iter_mut()
            .find(|variable| variable.name == "PATH");
        if let Some(path) = path {
            path.value = search_path(sources.root, &path.value);
        }
    }
    environment
}

/// As rkt's defaults; for an account of the image's `/etc/passwd` other than root, its own name
/// and home.
fn defaults(sources: &Sources<'_>) -> Vec<(&'static str, String)> {
    let (mut name, mut home) = ("root".to_string(), "/root".to_string());
    if let Some(account) = sources.user.account.as_ref().filter(|a| a.uid != 0) {
        name = account.name.clone();
        home = account.home.clone();
        if sources.has_home {
            home = beneath(sources.root, &home);
        }
    }
    vec![
        ("PATH", HOST_PATH.to_string()),
        ("SHELL", "/bin/sh".to_string()),
        ("USER", name.clone()),
        ("LOGNAME", name),
        ("HOME", home),
        ("AC_APP_NAME", sources.app.to_string()),
        ("SKIM_ROOTFS", sources.root.display().to_string()),
    ]
}

fn search_path(rootfs: &Path, image: &str) -> String {
    let inside = image
        .split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| beneath(rootfs, directory));
    let outside = image.split(':').chain(HOST_PATH.split(':'));
    let mut directories: Vec<String> = Vec::new();
    for directory in inside.chain(outside.map(str::to_string)) {
        if !directory.is_empty() && !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories.join(":")
}

fn beneath(rootfs: &Path, path: &str) -> String {
    let path = Path::new(path.trim_end_matches('/'));
    programs::beneath(rootfs, path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::user::Account;
    use super::*;

    fn user(uid: u32, name: &str, home: &str) -> User {
        User {
            uid,
            account: Some(Account {
                name: name.into(),
                uid,
                home: home.into(),
            }),
        }
    }

    fn sources<'a>(user: &'a User, image: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources<'a> {
        let owned = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs.map(|(n, v)| (n.to_string(), v.to_string())).collect()
        };
        Sources {
            app: "web",
            root: Path::new("/r"),
            user,
            has_home: true,
            hints: Vec::new(),
            layers: vec![owned(image), owned(flags)],
        }
    }

    fn value(environment: &[EnvVar], name: &str) -> String {
        let found: Vec<_> = environment.iter().filter(|v| v.name == name).collect();
        assert_eq!(found.len(), 1, "{name} stands once");
        found[0].value.clone()
    }

    #[test]
    fn defaults_are_root_s() {
        let root = user(0, "toor", "/elsewhere");
        let environment = compose(&sources(&root, &[], &[]));
        for (name, expected) in [
            ("USER", "root"),
            ("LOGNAME", "root"),
            ("HOME", "/root"),
            ("SHELL", "/bin/sh"),
            ("AC_APP_NAME", "web"),
            ("SKIM_ROOTFS", "/r"),
        ] {
            assert_eq!(value(&environment, name), expected, "{name}");
        }
        assert!(value(&environment, "PATH").starts_with("/r/usr/local/sbin:/r/usr/local/bin:"));
        assert!(value(&environment, "PATH").ends_with(":/usr/sbin:/usr/bin:/sbin:/bin"));
        assert!(environment.iter().all(|variable| variable.default));
    }

    #[test]
    fn an_account_of_the_image_has_its_own_home() {
        let web = user(33, "www", "/var/www");
        let environment = compose(&sources(&web, &[], &[]));
        assert_eq!(value(&environment, "USER"), "www");
        assert_eq!(value(&environment, "HOME"), "/r/var/www");
    }

    #[test]
    fn flags_win_over_the_image_and_the_image_over_defaults() {
        let root = user(0, "root", "/root");
        let image = [("A", "image"), ("B", "image"), ("HOME", "/image")];
        let flags = [("A", "flag"), ("A", "later")];
        let environment = compose(&sources(&root, &image, &flags));
        assert_eq!(value(&environment, "A"), "later");
        assert_eq!(value(&environment, "B"), "image");
        assert_eq!(value(&environment, "HOME"), "/image");
        let set = environment.iter().filter(|variable| !variable.default);
        assert_eq!(set.count(), 3);
    }

    #[test]
    fn hints_are_defaults_which_the_image_and_the_user_replace() {
        let root = user(0, "root", "/root");
        let hints = ["A", "B", "C"].map(|name| (name.to_string(), format!("/r/{name}")));
        let environment = compose(&Sources {
            hints: hints.to_vec(),
            ..sources(&root, &[("A", "image")], &[("B", "flag")])
        });
        for (name, expected, default) in [
            ("A", "image", false),
            ("B", "flag", false),
            ("C", "/r/C", true),
        ] {
            assert_eq!(value(&environment, name), expected);
            let found = environment.iter().find(|variable| variable.name == name);
            assert_eq!(found.map(|found| found.default), Some(default), "{name}");
        }
    }

    #[test]
    fn search_paths_name_the_rootfs_first() {
        assert_eq!(
            search_path(Path::new("/r"), "/opt/x/bin/:bin::/bin"),
            "/r/opt/x/bin:/r/bin:/opt/x/bin/:bin:/bin:/usr/local/sbin:/usr/local/bin:\
             /usr/sbin:/usr/bin:/sbin"
        );
    }
}
