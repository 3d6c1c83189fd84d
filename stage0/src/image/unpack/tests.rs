use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use tar::EntryType;
use tempfile::TempDir;

use crate::image::testing::{Archive, message};

/// Unpacks, and sets the directories' times as an import does in the end.
fn unpack(archive: Archive) -> TempDir {
    let dir = TempDir::new().unwrap();
    let unpacked = archive.unpack(dir.path()).unwrap();
    let root = fs::File::open(dir.path()).unwrap();
    unpacked
        .directories
        .set_times(std::os::fd::AsFd::as_fd(&root))
        .unwrap();
    dir
}

/// Unpacks what must be refused; nothing may appear in the directory beside.
fn refused(archive: Archive) -> String {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    let text = message(archive.unpack(&root));
    assert_eq!(fs::read_dir(dir.path().join("outside")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    text
}

fn get_xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = [0; 256];
    match rustix::fs::lgetxattr(path, name, &mut value) {
        Ok(length) => Some(value[..length].to_vec()),
        Err(rustix::io::Errno::NODATA) => None,
        Err(error) => panic!("{name}: {error}"),
    }
}

#[test]
fn owners_modes_and_times_are_kept() {
    let with = |kind, name: &[u8], mode| {
        let mut header = Archive::header(name, kind, 0);
        header.set_mode(mode);
        header.set_uid(1234);
        header.set_gid(70000);
        header
    };
    let archive = Archive::new()
        .raw(with(EntryType::Directory, b"rootfs/d", 0o3751), b"")
        .pax(&[("mtime", b"1500000000.123456789")])
        .raw(with(EntryType::Regular, b"rootfs/d/suid", 0o6755), b"")
        .raw(with(EntryType::Fifo, b"rootfs/d/fifo", 0o622), b"")
        .symlink("rootfs/d/link", "/nowhere");
    let dir = unpack(archive);
    let look = |name: &str| fs::symlink_metadata(dir.path().join(name)).unwrap();
    let suid = look("d/suid");
    assert_eq!(
        (suid.uid(), suid.gid(), suid.mode() & 0o7777),
        (1234, 70000, 0o6755)
    );
    assert_eq!(
        (suid.mtime(), suid.mtime_nsec()),
        (1_500_000_000, 123_456_789)
    );
    let fifo = look("d/fifo");
    assert!(fifo.file_type().is_fifo());
    assert_eq!((fifo.uid(), fifo.mode() & 0o7777), (1234, 0o622));
    for name in ["", "d", "d/fifo", "d/link"] {
        assert_eq!(look(name).mtime(), 1_600_000_000, "{name}");
    }
    assert_eq!(look("d").mode() & 0o7777, 0o3751);
    assert_eq!(
        fs::read_link(dir.path().join("d/link")).unwrap(),
        Path::new("/nowhere")
    );
}

#[test]
fn capabilities_are_kept_and_overlay_attributes_are_not() {
    // A capability set whose lowest byte is that of a line end.
    let capability = b"\x01\0\0\x02\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let records: [(&str, &[u8]); 5] = [
        ("SCHILY.xattr.security.capability", capability),
        ("SCHILY.xattr.user.note", b"a\n=b"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"x"),
    ];
    let dir = TempDir::new().unwrap();
    let archive = Archive::new().pax(&records).file("rootfs/a", b"x");
    let unpacked = archive
        .pax(&records[1..3])
        .directory("rootfs/d")
        .unpack(dir.path())
        .unwrap();
    assert_eq!(unpacked.left_out.xattrs, 4);
    let file = dir.path().join("a");
    assert_eq!(get_xattr(&file, "security.capability").unwrap(), capability);
    assert_eq!(get_xattr(&file, "user.note").unwrap(), b"a\n=b");
    assert_eq!(
        get_xattr(&dir.path().join("d"), "user.note").unwrap(),
        b"a\n=b"
    );
    for name in [
        "trusted.overlay.opaque",
        "user.overlay.opaque",
        "security.selinux",
    ] {
        assert_eq!(get_xattr(&file, name), None, "{name}");
    }
}

#[test]
fn device_nodes_are_left_out_and_counted() {
    let dir = TempDir::new().unwrap();
    let archive = Archive::new()
        .directory("rootfs/dev")
        .raw(Archive::header(b"rootfs/dev/null", EntryType::Char, 0), b"")
        .raw(Archive::header(b"rootfs/dev/sda", EntryType::Block, 0), b"");
    assert_eq!(archive.unpack(dir.path()).unwrap().left_out.devices, 2);
    assert_eq!(fs::read_dir(dir.path().join("dev")).unwrap().count(), 0);
}

#[test]
fn hard_links_share_the_file() {
    let dir = unpack(
        Archive::new()
            .file("rootfs/a/b", b"x")
            .hard_link("rootfs/c", "./rootfs/a/b")
            .hard_link("rootfs/d/e", "rootfs/c"),
    );
    let inode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().ino();
    assert_eq!(inode("a/b"), inode("c"));
    assert_eq!(inode("a/b"), inode("d/e"));
}

#[test]
fn hard_links_to_anything_else_are_refused() {
    let base = || {
        Archive::new()
            .symlink("rootfs/link", "/etc/passwd")
            .symlink("rootfs/dir", "/etc")
            .directory("rootfs/d")
    };
    for target in [
        "/etc/passwd",
        "etc/passwd",
        "../outside",
        "rootfs/../../x",
        "rootfs/link",
        "rootfs/dir/passwd",
        "rootfs/d",
        "rootfs",
        "rootfs/missing",
        "manifest",
    ] {
        let text = refused(base().hard_link("rootfs/new", target));
        assert!(text.contains("rootfs/new"), "{text}");
    }
    assert!(refused(base().hard_link("rootfs/new", "")).contains("without a proper target"));
}

#[test]
fn nothing_is_written_through_symlinks() {
    for target in ["../outside", "/", "d", "."] {
        let base = || {
            Archive::new()
                .directory("rootfs/d")
                .symlink("rootfs/l", target)
        };
        refused(base().file("rootfs/l/f", b"x"));
        refused(base().directory("rootfs/l/f"));
        refused(base().directory("rootfs/l"));
        refused(base().file("rootfs/l", b"x"));
        refused(base().file("rootfs/l/m/n", b"x"));
        refused(base().symlink("rootfs/l/s", "x"));
    }
}

#[test]
fn duplicates_are_refused() {
    let base = || Archive::new().file("rootfs/a", b"x").directory("rootfs/d");
    for archive in [
        base().file("rootfs/a", b"y"),
        base().file("rootfs/./a", b"y"),
        base().file("rootfs/d", b"y"),
        base().symlink("rootfs/a", "y"),
        base().directory("rootfs/a"),
        base().directory("rootfs/d"),
        base().directory("rootfs"),
        base().hard_link("rootfs/a", "rootfs/a"),
    ] {
        let text = refused(archive);
        assert!(text.contains("duplicate entry"), "{text}");
    }
    refused(base().file("rootfs/a/b", b"y"));
}

#[test]
fn implied_directories_may_be_described_later() {
    let mut header = Archive::header(b"rootfs/x/y", EntryType::Directory, 0);
    header.set_mode(0o700);
    let archive = Archive::new().file("rootfs/x/y/z", b"").raw(header, b"");
    let dir = unpack(archive);
    let look = |name: &str| fs::metadata(dir.path().join(name)).unwrap();
    assert_eq!((look("x").mode() & 0o7777, look("x").mtime()), (0o755, 0));
    assert_eq!(
        (look("x/y").mode() & 0o7777, look("x/y").mtime()),
        (0o700, 1_600_000_000)
    );
}

#[test]
fn names_may_hold_any_text() {
    let name = "rootfs/ä\t \"\\".as_bytes();
    let archive = Archive::new().raw(Archive::header(name, EntryType::Regular, 1), b"x");
    let dir = unpack(archive);
    let path = std::ffi::OsString::from_vec(name[7..].to_vec());
    assert_eq!(fs::read(dir.path().join(path)).unwrap(), b"x");
}

#[test]
fn long_names_of_both_kinds_are_whole() {
    let part = "a".repeat(200);
    let name = format!("rootfs/{part}/{part}");
    let long = Archive::header(b"././@LongLink", EntryType::GNULongName, name.len() + 1);
    let archive = Archive::new()
        .raw(long, format!("{name}\0").as_bytes())
        .file("short", b"gnu")
        .pax(&[
            ("path", format!("{name}2").as_bytes()),
            ("linkpath", name.as_bytes()),
        ])
        .hard_link("short", "short");
    let dir = unpack(archive);
    let path = dir.path().join(&part);
    assert_eq!(fs::read(path.join(format!("{part}2"))).unwrap(), b"gnu");
}

#[test]
fn symlink_targets_are_bounded() {
    let target = vec![b'a'; 4096];
    let archive = Archive::new()
        .pax(&[("linkpath", &target)])
        .symlink("rootfs/l", "x");
    assert!(refused(archive).contains("more than 4095 bytes"));
    let archive = Archive::new()
        .pax(&[("linkpath", &target[1..])])
        .symlink("rootfs/l", "x");
    let dir = unpack(archive);
    let link = fs::read_link(dir.path().join("l")).unwrap();
    assert_eq!(link.as_os_str().len(), 4095);
}

#[test]
fn root_gets_what_its_entry_says() {
    let mut header = Archive::header(b"rootfs", EntryType::Directory, 0);
    header.set_mode(0o751);
    let json = crate::image::testing::manifest("example.com/app", "1");
    let dir = unpack(
        Archive::empty()
            .file("manifest", json.as_bytes())
            .raw(header, b""),
    );
    let mode = fs::metadata(dir.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o751);
}
