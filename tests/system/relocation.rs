//! What relocation changes in an image's tree, and what it leaves alone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::command::{run, skim};
use crate::support::host::Host;
use crate::support::image::{Image, PROGRAMS};
use crate::support::pod::Pod;

/// A pod that does nothing but show its image's tree.
#[track_caller]
fn idle(image: Image) -> Pod {
    Pod::start([image.exec(&["/bin/sleep", "1000000"]).build()])
}

#[test]
fn static_programs_and_plain_files_stay_byte_for_byte() {
    let host = Host::new();
    let text = "#!/bin/sh\nnot executable, so not a script\n";
    let image = Image::busybox(&host, "untouched").file("etc/text", text, 0o644);
    let pod = idle(image);
    let tree = pod.tree("untouched");
    for program in ["busybox", "dump"] {
        let original = fs::read(Path::new(PROGRAMS).join(program)).expect("the program is there");
        let unpacked = fs::read(tree.join("bin").join(program)).expect("the program was unpacked");
        assert!(original == unpacked, "{program} was changed");
    }
    assert_eq!(
        fs::read_to_string(tree.join("etc/text")).expect("the file was unpacked"),
        text
    );
}

#[test]
fn a_dynamic_program_in_an_image_without_a_loader_stays_byte_for_byte() {
    let host = Host::new();
    let program = fs::read("/bin/sleep").expect("the host has a dynamic program");
    let image = Image::busybox(&host, "loaderless").file("bin/hosts", &program, 0o755);
    let pod = idle(image);
    let unpacked =
        fs::read(pod.tree("loaderless").join("bin/hosts")).expect("the program was unpacked");
    assert!(unpacked == program, "the program was changed");
}

#[test]
fn owners_modes_times_and_file_capabilities_are_kept() {
    let host = Host::new();
    let image = Image::tree(&host, "kept", "musl").file(
        "bin/sleep",
        fs::read(format!("{PROGRAMS}/busybox")).expect("busybox is there"),
        0o755,
    );
    // The program that is patched, and one that is not.
    let paths = ["bin/greet", "bin/sleep"];
    for path in paths {
        let file = image.path(path);
        run("chown", ["1234:2345".as_ref(), file.as_os_str()]).success();
        run("chmod", ["4751".as_ref(), file.as_os_str()]).success();
        run("setcap", ["cap_net_raw=ep".as_ref(), file.as_os_str()]).success();
        run(
            "touch",
            ["--date=2001-02-03T04:05:06Z".as_ref(), file.as_os_str()],
        )
        .success();
    }
    let pod = idle(image);
    let tree = pod.tree("kept");
    for path in paths {
        let file = tree.join(path);
        let metadata = fs::metadata(&file).expect("the program was unpacked");
        assert_eq!(
            (metadata.uid(), metadata.gid()),
            (1234, 2345),
            "owner of {path}"
        );
        assert_eq!(metadata.mode() & 0o7777, 0o4751, "mode of {path}");
        assert_eq!(metadata.mtime(), 981_173_106, "time of {path}");
        let capabilities = run("getcap", [&file]).success().stdout;
        assert!(
            capabilities.contains("cap_net_raw=ep"),
            "capabilities of {path}: {capabilities:?}"
        );
    }
}

#[test]
fn names_of_one_hard_linked_program_stay_alike() {
    let host = Host::new();
    let image = Image::tree(&host, "hardlinks", "musl").file(
        "bin/sleep",
        fs::read(format!("{PROGRAMS}/busybox")).expect("busybox is there"),
        0o755,
    );
    fs::hard_link(image.path("bin/greet"), image.path("bin/greet-too")).expect("cannot link");
    let pod = idle(image);
    let [one, two] = ["bin/greet", "bin/greet-too"]
        .map(|path| fs::read(pod.tree("hardlinks").join(path)).expect("it was unpacked"));
    assert!(one == two, "one name was patched and the other was not");
    let original = fs::read(format!("{PROGRAMS}/musl/bin/greet")).expect("the program is there");
    assert!(one != original, "the program was not relocated");
}

#[test]
fn absolute_symlinks_lead_into_the_image() {
    let host = Host::new();
    let pod = idle(Image::busybox(&host, "links").symlink("/etc", "opt/deep/configuration"));
    for path in ["bin/sh", "opt/deep/configuration"] {
        let link = pod.rootfs("links").join(path);
        let target = fs::read_link(&link).expect("it is a link");
        assert!(target.is_relative(), "{path} leads to {}", target.display());
        let real = fs::canonicalize(&link).expect("the link leads somewhere");
        assert!(
            real.starts_with(pod.rootfs("links")),
            "{path} leads to {}",
            real.display()
        );
    }
}

#[test]
fn the_relocations_of_an_image_can_be_seen() {
    let host = Host::new();
    let image = Image::tree(&host, "seen", "musl")
        .symlink("/bin/greet", "usr/bin/hello")
        .exec(&["/bin/greet"]);
    let id = skim(["fetch".into(), image.build().into_os_string()]).line();
    let listing = skim(["image", "relocations", &id]).success().stdout;
    for path in ["bin/greet", "usr/bin/hello"] {
        assert!(listing.contains(path), "{path} is missing in {listing}");
    }
}
