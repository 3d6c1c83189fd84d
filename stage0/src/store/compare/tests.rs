use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use tempfile::TempDir;

use super::*;
use crate::image::testing::message;

/// Two trees beside each other: as it should be, and as it is.
struct Lab {
    dir: TempDir,
}

impl Lab {
    /// Both made by `make`.
    fn new(make: impl Fn(&Path)) -> Self {
        let lab = Self {
            dir: TempDir::new().unwrap(),
        };
        for name in ["wanted", "found"] {
            fs::create_dir(lab.dir.path().join(name)).unwrap();
            make(&lab.dir.path().join(name));
        }
        lab
    }

    fn found(&self, path: &str) -> PathBuf {
        self.dir.path().join("found").join(path)
    }

    fn open(&self) -> [File; 2] {
        ["wanted", "found"].map(|name| File::open(self.dir.path().join(name)).unwrap())
    }

    fn compare(&self) -> Result<Comparison> {
        let [wanted, found] = self.open();
        compare(wanted.as_fd(), found.as_fd())
    }

    fn repair(&self) -> Result<Comparison> {
        let [wanted, found] = self.open();
        repair(wanted.as_fd(), found.as_fd())
    }

    /// Makes the tree as it should be anew, as a repair takes it apart.
    fn renew(&self, make: impl Fn(&Path)) {
        let wanted = self.dir.path().join("wanted");
        fs::remove_dir_all(&wanted).unwrap();
        fs::create_dir(&wanted).unwrap();
        make(&wanted);
    }

    fn texts(&self) -> Vec<String> {
        let comparison = self.compare().unwrap();
        assert_eq!(comparison.total, comparison.differences.len() as u64);
        let differences = comparison.differences.iter();
        differences.map(Difference::to_string).collect()
    }
}

/// Something of every kind.
fn image(root: &Path) {
    let make = |path: &str| fs::create_dir_all(root.join(path)).unwrap();
    let write = |path: &str, content: &[u8]| fs::write(root.join(path), content).unwrap();
    make("bin");
    make("etc/empty");
    make("usr/lib");
    write("bin/su", b"\x7fELF su");
    fs::set_permissions(root.join("bin/su"), Permissions::from_mode(0o4755)).unwrap();
    write("etc/passwd", b"root:x:0:0::/:/bin/sh\n");
    write("etc/none", b"");
    write("usr/lib/big", &[7; 300_000]);
    fs::hard_link(root.join("usr/lib/big"), root.join("usr/lib/big.1")).unwrap();
    symlink("usr/lib", root.join("lib")).unwrap();
    symlink("/nowhere", root.join("etc/dangling")).unwrap();
    mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    xattr(&root.join("etc/passwd"), "user.note", b"x");
    xattr(&root.join("etc"), "user.note", b"y");
    write_bytes(root, b"etc/odd\n\xff\x1b", b"z");
}

fn write_bytes(root: &Path, path: &[u8], content: &[u8]) {
    fs::write(root.join(OsStr::from_bytes(path)), content).unwrap();
}

fn xattr(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

#[test]
fn trees_made_alike_are_the_same() {
    let lab = Lab::new(image);
    assert!(lab.compare().unwrap().is_same());
    // Times do not count, nor does what belongs to the host's policy.
    let past = std::time::SystemTime::UNIX_EPOCH;
    File::open(lab.found("bin/su"))
        .unwrap()
        .set_modified(past)
        .unwrap();
    fs::remove_file(lab.found("usr/lib/big.1")).unwrap();
    fs::copy(lab.found("usr/lib/big"), lab.found("usr/lib/big.1")).unwrap();
    xattr(&lab.found("etc/none"), "trusted.other", b"x");
    assert_eq!(lab.texts(), [""; 0]);
}

/// A change of the tree, and what is said of it.
type Case = (fn(&Lab), &'static [&'static str]);

const CASES: &[Case] = &[
    (
        |lab| fs::remove_file(lab.found("bin/su")).unwrap(),
        &["missing /bin/su"],
    ),
    (
        |lab| fs::remove_dir_all(lab.found("usr")).unwrap(),
        &["missing /usr"],
    ),
    (
        |lab| fs::remove_dir(lab.found("etc/empty")).unwrap(),
        &["missing /etc/empty"],
    ),
    (
        |lab| fs::write(lab.found("new"), "x").unwrap(),
        &["added /new"],
    ),
    (
        |lab| {
            fs::create_dir_all(lab.found("etc/a/b/c")).unwrap();
            symlink("/etc", lab.found("etc/a/b/link")).unwrap();
        },
        &["added /etc/a"],
    ),
    (
        |lab| fs::write(lab.found("bin/su"), "\x7fELF us").unwrap(),
        &["changed /bin/su (content)"],
    ),
    (
        |lab| {
            let file = File::options()
                .write(true)
                .open(lab.found("usr/lib/big"))
                .unwrap();
            std::os::unix::fs::FileExt::write_at(&file, b"8", 299_999).unwrap();
        },
        &[
            "changed /usr/lib/big (content)",
            "changed /usr/lib/big.1 (content)",
        ],
    ),
    (
        |lab| fs::write(lab.found("etc/none"), "x").unwrap(),
        &["changed /etc/none (size)"],
    ),
    (
        |lab| {
            fs::set_permissions(lab.found("bin/su"), Permissions::from_mode(0o755)).unwrap();
        },
        &["changed /bin/su (mode)"],
    ),
    (
        |lab| chown(lab.found("etc"), Some(7), Some(8)).unwrap(),
        &["changed /etc (owner)"],
    ),
    (
        |lab| {
            fs::set_permissions(lab.found(""), Permissions::from_mode(0o1777)).unwrap();
        },
        &["changed / (mode)"],
    ),
    (
        |lab| {
            fs::remove_file(lab.found("lib")).unwrap();
            symlink("usr/lib64", lab.found("lib")).unwrap();
        },
        &["changed /lib (target)"],
    ),
    // A symbolic link in the place of a directory, and what is behind it, is not looked into.
    (
        |lab| {
            fs::rename(lab.found("usr/lib"), lab.dir.path().join("aside")).unwrap();
            symlink("../../aside", lab.found("usr/lib")).unwrap();
        },
        &["changed /usr/lib (type)"],
    ),
    (
        |lab| {
            fs::remove_file(lab.found("etc/passwd")).unwrap();
            fs::create_dir_all(lab.found("etc/passwd/d")).unwrap();
            fs::write(lab.found("etc/passwd/d/f"), "x").unwrap();
        },
        &["changed /etc/passwd (type)"],
    ),
    (
        |lab| {
            fs::remove_dir_all(lab.found("usr")).unwrap();
            mknodat(CWD, lab.found("usr"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        },
        &["changed /usr (type)"],
    ),
    (
        |lab| {
            fs::remove_file(lab.found("fifo")).unwrap();
            fs::write(lab.found("fifo"), "").unwrap();
        },
        &["changed /fifo (type)"],
    ),
    (
        |lab| {
            xattr(&lab.found("etc/passwd"), "user.note", b"changed");
            xattr(&lab.found("etc"), "user.more", b"1");
            xattr(&lab.found("bin"), "trusted.overlay.opaque", b"y");
        },
        &[
            "changed /bin (extended attributes)",
            "changed /etc (extended attributes)",
            "changed /etc/passwd (extended attributes)",
        ],
    ),
    (
        |lab| {
            write_bytes(&lab.found(""), b"etc/odd\n\xff\x1b", b"Z");
            write_bytes(&lab.found(""), b"-rf *;\"\\", b"");
        },
        &[
            "added /-rf *;\\\"\\\\",
            "changed /etc/odd\\n\\xff\\x1b (content)",
        ],
    ),
];

#[test]
fn every_change_is_told_and_repaired() {
    for (change, expected) in CASES {
        let lab = Lab::new(image);
        change(&lab);
        assert_eq!(lab.texts(), *expected);
        let told = lab.compare().unwrap();
        assert_eq!(lab.repair().unwrap(), told, "{expected:?}");
        lab.renew(image);
        assert_eq!(lab.texts(), [""; 0], "after repair of {expected:?}");
    }
}

#[test]
fn what_runs_keeps_its_file() {
    let lab = Lab::new(image);
    let before = File::open(lab.found("bin/su")).unwrap();
    let time = fs::metadata(lab.dir.path().join("wanted/bin"))
        .unwrap()
        .modified()
        .unwrap();
    fs::write(lab.found("bin/su"), "\x7fELF us").unwrap();
    lab.repair().unwrap();
    let after = fs::metadata(lab.found("bin/su")).unwrap();
    assert_ne!(before.metadata().unwrap().ino(), after.ino());
    assert_eq!(after.mode() & 0o7777, 0o4755);
    assert_eq!(std::io::read_to_string(&before).unwrap(), "\x7fELF us");
    assert_eq!(
        fs::metadata(lab.found("bin")).unwrap().modified().unwrap(),
        time
    );
}

#[test]
fn links_lead_nowhere() {
    let lab = Lab::new(|root| {
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/f"), "inside").unwrap();
    });
    let outside = lab.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("f"), "outside").unwrap();
    fs::remove_dir_all(lab.found("d")).unwrap();
    symlink(&outside, lab.found("d")).unwrap();
    symlink(&outside, lab.found("added")).unwrap();
    assert_eq!(lab.texts(), ["added /added", "changed /d (type)"]);
    lab.repair().unwrap();
    assert_eq!(fs::read_to_string(outside.join("f")).unwrap(), "outside");
    assert_eq!(fs::read_to_string(lab.found("d/f")).unwrap(), "inside");
    assert!(!lab.found("added").exists());
}

/// Needs root; without it the mount fails and so does the test.
#[test]
fn what_is_mounted_is_not_entered() {
    for point in ["usr/lib", "etc/passwd", "etc/empty"] {
        let lab = Lab::new(image);
        let source = lab.dir.path().join("wanted").join(point);
        mount_bind(&source, lab.found(point)).expect("mounts need root");
        let results = [lab.compare(), lab.repair()];
        unmount(lab.found(point), UnmountFlags::DETACH).unwrap();
        for result in results {
            let text = message(result);
            assert!(text.contains(&format!("mounted at /{point} ")), "{text}");
        }
    }
}

#[test]
fn mounts_in_what_was_added_stay() {
    let lab = Lab::new(image);
    let outside = lab.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("f"), "x").unwrap();
    fs::create_dir_all(lab.found("added/mnt")).unwrap();
    mount_bind(&outside, lab.found("added/mnt")).expect("mounts need root");
    let result = lab.repair();
    unmount(lab.found("added/mnt"), UnmountFlags::DETACH).unwrap();
    let text = message(result);
    assert!(
        text.contains("cannot repair /added") && text.contains("unmount it first"),
        "{text}"
    );
    assert_eq!(fs::read_to_string(outside.join("f")).unwrap(), "x");
}

#[test]
fn depth_costs_no_descriptors_and_no_stack() {
    const DEPTH: usize = 3000;
    let chain = |root: &Path| {
        let mut dir = std::os::fd::OwnedFd::from(File::open(root).unwrap());
        for _ in 0..DEPTH {
            rustix::fs::mkdirat(&dir, "d", Mode::RWXU).unwrap();
            dir = open_directory(&dir);
        }
        mknodat(&dir, "end", FileType::RegularFile, Mode::RWXU, 0).unwrap();
    };
    fn open_directory(dir: &std::os::fd::OwnedFd) -> std::os::fd::OwnedFd {
        let flags = rustix::fs::OFlags::DIRECTORY;
        rustix::fs::openat(dir, "d", flags, Mode::empty()).unwrap()
    }
    let lab = Lab::new(chain);
    assert!(lab.compare().unwrap().is_same());
    let mut dir = std::os::fd::OwnedFd::from(lab.open()[1].try_clone().unwrap());
    for _ in 0..DEPTH {
        dir = open_directory(&dir);
    }
    rustix::fs::renameat(&dir, "end", &dir, "other").unwrap();
    let told = lab.compare().unwrap();
    assert_eq!(told.total, 2);
    assert_eq!(told.differences[0].path.len(), 2 * DEPTH + "end".len());
    assert_eq!(lab.repair().unwrap(), told);
    // Too deep for the path of a file, as remove_dir_all has it.
    for name in ["wanted", "found"] {
        let top = File::open(lab.dir.path()).unwrap();
        stage1_skim::remove::remove_tree(top.as_fd(), name.as_ref()).unwrap();
    }
}

#[test]
fn differences_beyond_the_bound_are_counted_and_repaired() {
    let make = |root: &Path| {
        for number in 0..MAX_LISTED + 10 {
            fs::write(root.join(number.to_string()), "x").unwrap();
        }
    };
    let lab = Lab::new(make);
    for number in 0..MAX_LISTED + 10 {
        fs::remove_file(lab.found(&number.to_string())).unwrap();
    }
    let told = lab.compare().unwrap();
    assert_eq!(told.differences.len(), MAX_LISTED);
    assert_eq!(told.total, MAX_LISTED as u64 + 10);
    lab.repair().unwrap();
    lab.renew(make);
    assert!(lab.compare().unwrap().is_same());
}

/// What is done to a tree at random, at one of a few paths; what cannot be done is not.
#[derive(Clone, Debug)]
enum Step {
    Remove,
    Directory,
    File(u8),
    Link(u8),
    Mode(u32),
    Owner(u32),
    Xattr(u8),
}

fn step() -> impl Strategy<Value = (String, Step)> {
    let path = prop::collection::vec("[abc]", 1..4).prop_map(|names| names.join("/"));
    let step = prop_oneof![
        2 => Just(Step::Remove),
        3 => Just(Step::Directory),
        3 => any::<u8>().prop_map(Step::File),
        2 => any::<u8>().prop_map(Step::Link),
        1 => (0_u32..0o10000).prop_map(Step::Mode),
        1 => (0_u32..3).prop_map(Step::Owner),
        1 => any::<u8>().prop_map(Step::Xattr),
    ];
    (path, step)
}

/// Whether the step could be done. Links are not followed, so that all stays in the tree.
fn apply(root: &Path, path: &str, step: &Step) -> bool {
    let mut above = root.to_path_buf();
    for name in Path::new(path).parent().into_iter().flatten() {
        above.push(name);
        if !above.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            return false;
        }
    }
    let path = root.join(path);
    let is_link = path.is_symlink();
    match step {
        Step::Remove => fs::remove_file(&path)
            .or_else(|_| fs::remove_dir_all(&path))
            .is_ok(),
        Step::Directory => fs::create_dir(&path).is_ok(),
        Step::File(byte) => !is_link && fs::write(&path, [*byte; 3]).is_ok(),
        Step::Link(byte) => symlink(format!("../{byte}"), &path).is_ok(),
        Step::Mode(mode) => {
            !is_link && fs::set_permissions(&path, Permissions::from_mode(*mode)).is_ok()
        }
        Step::Owner(id) => std::os::unix::fs::lchown(&path, Some(*id), Some(*id)).is_ok(),
        Step::Xattr(byte) => lsetxattr(&path, "user.x", &[*byte], XattrFlags::empty()).is_ok(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn repaired_trees_are_the_same(
        base in prop::collection::vec(step(), 0..30),
        changes in prop::collection::vec(step(), 0..30),
    ) {
        let make = |root: &Path| {
            for (path, step) in &base {
                apply(root, path, step);
            }
        };
        let lab = Lab::new(make);
        prop_assert!(lab.compare().unwrap().is_same());
        let mut done = false;
        for (path, step) in &changes {
            done |= apply(&lab.found(""), path, step);
        }
        let told = lab.compare().unwrap();
        prop_assert!(done || told.is_same());
        lab.repair().unwrap();
        lab.renew(make);
        prop_assert_eq!(lab.compare().unwrap(), Comparison::default());
    }
}
