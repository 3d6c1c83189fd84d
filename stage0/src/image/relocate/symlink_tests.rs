//! Tests of the links.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

#[test]
fn relative_targets() {
    for (dir, to, expected) in [
        ("/", "/bin/sh", "bin/sh"),
        ("/usr/bin", "/bin/busybox", "../../bin/busybox"),
        ("/usr/bin", "/usr/bin/x", "x"),
        ("/usr/bin", "/usr/lib/x", "../lib/x"),
        ("/usr/bin", "/usr", ".."),
        ("/usr/bin", "/", "../.."),
        ("/usr", "/usr", "."),
        ("/", "/", "."),
        ("/usr/binary", "/usr/bin", "../bin"),
    ] {
        assert_eq!(
            relative(dir.as_bytes(), to.as_bytes()),
            expected.as_bytes(),
            "{dir} {to}"
        );
    }
}

#[test]
fn decides_by_what_is_in_the_image() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    for directory in ["usr/bin", "etc/alternatives", "run/app", "deep/er"] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    for file in ["usr/bin/busybox", "run/app/socket", "etc/passwd"] {
        fs::write(at(file), "").unwrap();
    }
    symlink("usr/bin", at("bin")).unwrap();
    symlink("/run", at("varrun")).unwrap();
    symlink("/run/missing", at("etc/dangling")).unwrap();
    symlink("/deep/er", at("away")).unwrap();
    let fd = File::open(root.path()).unwrap();
    let tree = Tree::new(fd.as_fd());
    for (dir, target, expected) in [
        ("/usr/bin", "/bin/busybox", Some("../../bin/busybox")),
        ("/usr/bin", "//usr/./bin/busybox", Some("busybox")),
        ("/etc", "/", Some("..")),
        ("/etc", "/etc/dangling", Some("dangling")),
        ("/etc", "/../etc/passwd", Some("passwd")),
        ("/usr", "/away/../../etc/passwd", Some("../etc/passwd")),
        ("/etc", "/no/such/file", None),
        ("/etc", "/proc/mounts", None),
        ("/etc", "/run/app/socket", None),
        ("/etc", "/varrun/app/socket", None),
        ("/etc", "../usr/bin", None),
        ("/etc", "missing", None),
        (
            "/etc",
            "../../../usr/bin/busybox",
            Some("../usr/bin/busybox"),
        ),
        ("/etc", "../../missing", Some("../missing")),
        ("/etc", "../..", Some("..")),
    ] {
        let new = new_target(tree, dir.as_bytes(), target.as_bytes()).unwrap();
        assert_eq!(
            new.as_deref(),
            expected.map(str::as_bytes),
            "{dir} {target}"
        );
    }
}

proptest! {
    #[test]
    fn a_relative_target_leads_there_and_never_above(
        dir in "(/[ab]){0,4}",
        target in "(/([ab]|\\.\\.|\\.|)){0,6}",
    ) {
        let dir = join(&components(dir.as_bytes()).collect::<Vec<_>>());
        let to = lexical(b"/", target.as_bytes()).0;
        let relative = relative(&dir, &to);
        prop_assert!(!relative.starts_with(b"/"));
        prop_assert_eq!(lexical(&dir, &relative), (to, false));
    }
}
