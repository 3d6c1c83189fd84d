//! Relocation of small trees made of this machine's own compiler, loader and C library.

mod corrupt;
mod fixture;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;
use fixture::{Image, Metadata};

/// A program that needs a library, which needs another one by a RUNPATH of its own.
fn add_program(image: &Image) {
    image.add_loader_and_libc();
    image.compile(
        "opt/bar/libbar.so",
        "int bar(void) { return 42; }",
        &["-shared"],
    );
    let bar = image.path("opt/bar");
    image.compile(
        "usr/lib/libfoo.so",
        "int bar(void); int foo(void) { return bar(); }",
        &[
            "-shared",
            "-Wl,-soname,libfoo.so",
            "-L",
            &bar,
            "-lbar",
            "-Wl,--enable-new-dtags",
            "-Wl,-rpath,/opt/bar",
        ],
    );
    image.set_mode("usr/lib/libfoo.so", 0o644);
    let (lib, bar) = (image.path("usr/lib"), format!("-Wl,-rpath-link,{bar}"));
    image.compile(
        "usr/bin/program",
        "#include <stdio.h>\nint foo(void); int main(void) { printf(\"%d\\n\", foo()); }",
        &["-L", &lib, "-lfoo", &bar],
    );
}

#[test]
fn a_program_runs_from_its_tree_with_the_tree_s_libraries_alone() {
    let image = Image::new();
    add_program(&image);
    let libc = image.read(&image.libc);
    let report = image.relocate();
    assert_eq!(report.left, []);
    let mut changed: Vec<_> = report.changes.iter().map(|change| &*change.path).collect();
    changed.sort_unstable();
    assert_eq!(changed, ["/usr/bin/program", "/usr/lib/libfoo.so"]);
    assert_eq!(image.run("usr/bin/program", &[]), "42\n");
    let libraries = image.run("usr/bin/program", &[("LD_TRACE_LOADED_OBJECTS", "1")]);
    assert!(libraries.contains("libbar.so"), "{libraries}");
    for line in libraries
        .lines()
        .filter(|line| !line.contains("linux-vdso"))
    {
        assert!(line.contains(&image.path("")), "not from the tree: {line}");
    }
    assert!(image.read(&image.libc) == libc, "libc.so.6 was changed");
}

#[test]
fn a_second_time_changes_nothing() {
    let image = Image::new();
    add_program(&image);
    image.write("bin/sh", b"", 0o755);
    image.write("usr/bin/script", b"#!/bin/sh\n", 0o755);
    symlink("/bin/sh", image.at("usr/bin/link")).unwrap();
    assert_eq!(image.relocate().changes.len(), 4);
    assert_eq!(image.relocate(), Report::default());
}

#[test]
fn what_needs_no_change_stays_byte_for_byte() {
    let image = Image::new();
    add_program(&image);
    let program = image.read("usr/bin/program");
    image.write("usr/bin/not-executable", &program, 0o644);
    image.compile(
        "usr/bin/static",
        "int main(void) { return 0; }",
        &["-static"],
    );
    image.compile(
        "usr/bin/static-pie",
        "int main(void) { return 0; }",
        &["-static-pie"],
    );
    image.compile(
        "usr/lib/plain.so",
        "int f(void) { return 0; }",
        &["-shared"],
    );
    image.compile(
        "usr/lib/origin.so",
        "int f(void) { return 0; }",
        &["-shared", "-Wl,--disable-new-dtags", "-Wl,-rpath,$ORIGIN"],
    );
    image.compile(
        "usr/bin/foreign",
        "int main(void) { return 0; }",
        &["-Wl,-I,/lib/ld-none.so"],
    );
    image.write("usr/bin/data", b"#!/bin/sh\n", 0o644);
    image.write("usr/bin/host-script", b"#!/no/such/interpreter\n", 0o755);
    let before = image.snapshot();
    let report = image.relocate();
    assert_eq!(report.left, []);
    let changed = ["usr/bin/program", "usr/lib/libfoo.so"];
    for (path, content) in image.snapshot() {
        if !changed.contains(&&*path) {
            assert!(before[&path] == content, "{path} was changed");
        }
    }
}

#[test]
fn an_image_without_a_loader_keeps_its_programs_and_libraries() {
    let image = Image::new();
    add_program(&image);
    fs::remove_file(image.at(&image.loader)).unwrap();
    let before = image.snapshot();
    assert_eq!(image.relocate(), Report::default());
    assert!(before == image.snapshot());
}

#[test]
fn metadata_and_hard_links_survive() {
    let image = Image::new();
    add_program(&image);
    fs::copy(image.at("usr/bin/program"), image.at("usr/bin/plain")).unwrap();
    fs::hard_link(image.at("usr/bin/program"), image.at("opt/other-name")).unwrap();
    image.write("bin/sh", b"", 0o755);
    image.write("usr/bin/script", b"#!/bin/sh\necho\n", 0o755);
    symlink("/bin/sh", image.at("usr/bin/link")).unwrap();
    let paths = [
        "usr/bin/program",
        "usr/bin/plain",
        "usr/bin/script",
        "usr/bin/link",
        "usr/bin",
    ];
    for path in paths {
        image.mark(path);
    }
    let before: Vec<_> = paths
        .iter()
        .map(|path| Metadata::of(&image.at(path)))
        .collect();
    let report = image.relocate();
    assert_eq!(report.changes.len(), 5, "{report:#?}");
    for (path, before) in paths.iter().zip(before) {
        assert_eq!(Metadata::of(&image.at(path)), before, "{path}");
    }
    let inode = |path: &str| fs::metadata(image.at(path)).unwrap().ino();
    assert_eq!(inode("usr/bin/program"), inode("opt/other-name"));
    assert_eq!(image.run("opt/other-name", &[]), "42\n");
}

#[test]
fn scripts_name_their_interpreter_in_the_tree() {
    let image = Image::new();
    add_program(&image);
    symlink("/usr/bin/program", image.at("usr/bin/alias")).unwrap();
    image.write("usr/bin/script", b"#! /usr/bin/alias -x\nrest\n", 0o755);
    let deep = format!("/{}", "d/".repeat(116));
    image.write(&format!("{deep}program"), b"", 0o755);
    let long = format!("#!{deep}program\n");
    image.write("usr/bin/long", long.as_bytes(), 0o755);
    let report = image.relocate();
    let line = format!("#! {} -x\nrest\n", image.path("usr/bin/alias"));
    assert_eq!(
        String::from_utf8(image.read("usr/bin/script")).unwrap(),
        line
    );
    assert_eq!(image.run("usr/bin/script", &[]), "42\n");
    assert_eq!(image.read("usr/bin/long"), long.as_bytes());
    assert_eq!(report.left.len(), 1, "{report:#?}");
    assert_eq!(report.left[0].path, "/usr/bin/long");
    assert_eq!(
        report.left[0].reason,
        "its #! line would exceed the kernel's 256 bytes"
    );
}

#[test]
fn data_appended_to_a_program_is_not_displaced() {
    let image = Image::new();
    add_program(&image);
    let bytes = [image.read("usr/bin/program"), b"archive".to_vec()].concat();
    image.write("usr/bin/bundle", &bytes, 0o755);
    let report = image.relocate();
    assert!(image.read("usr/bin/bundle") == bytes);
    let left: Vec<_> = report
        .left
        .iter()
        .map(|left| (&*left.path, &*left.reason))
        .collect();
    let reason = "data is appended to it, which patching would displace";
    assert_eq!(left, [("/usr/bin/bundle", reason)]);
}

#[test]
fn nothing_outside_the_tree_is_touched() {
    let outside = tempfile::tempdir().unwrap();
    let script = outside.path().join("script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let image = Image::new();
    image.write("bin/sh", b"", 0o755);
    symlink(outside.path(), image.at("directory")).unwrap();
    symlink(&script, image.at("file")).unwrap();
    assert_eq!(image.relocate(), Report::default());
    assert_eq!(fs::read(&script).unwrap(), b"#!/bin/sh\n");
}

#[test]
fn a_deep_tree_is_walked_to_its_end() {
    let image = Image::new();
    image.write("bin/sh", b"", 0o755);
    // Far more levels than descriptors, and paths that no single lookup can take.
    let depth = 5000;
    let mut dir = rustix::fs::open(image.root(), OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&dir, c"d", 0o755.into()).unwrap();
        dir = rustix::fs::openat(&dir, c"d", OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    }
    rustix::fs::symlinkat(c"/bin/sh", &dir, c"link").unwrap();
    let report = image.relocate();
    assert_eq!(report.changes.len(), 0, "{report:#?}");
    assert_eq!(report.left.len(), 1, "{report:#?}");
    let target = rustix::fs::readlinkat(&dir, c"link", Vec::new()).unwrap();
    assert_eq!(target.as_bytes(), b"/bin/sh");
}

#[test]
fn a_root_that_no_search_path_can_name_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let fd = File::open(root.path()).unwrap();
    for (path, expected) in [
        ("/a:b", "cannot name a path with `:`"),
        ("/a$b", "`$`"),
        ("a", "not absolute"),
        ("//", "below /"),
        ("/a/../b", "below /"),
    ] {
        let error = relocate(std::os::fd::AsFd::as_fd(&fd), Path::new(path)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
