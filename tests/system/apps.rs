//! Apps of several kinds, each run out of its image.

use std::ffi::OsStr;
use std::fs;

use crate::support::command::{Outcome, run, skim};
use crate::support::host::Host;
use crate::support::image::Image;

/// `skim run` of an image's one app, in the foreground.
#[track_caller]
pub(crate) fn run_app(image: Image) -> Outcome {
    skim(["run".into(), image.build().into_os_string()])
}

#[test]
fn a_user_of_the_images_own_passwd_runs_the_app() {
    let host = Host::new();
    let dump = host.directory("dump");
    let image = Image::busybox(&host, "nonroot")
        .file(
            "etc/passwd",
            "root:x:0:0::/:/bin/sh\nservice:x:4242:4343::/:/bin/sh\n",
            0o644,
        )
        .file("etc/group", "root:x:0:\nservers:x:4343:\n", 0o644)
        .user("service", "servers")
        .exec(&["/bin/dump"])
        .app(
            "environment",
            serde_json::json!([{ "name": "DUMP_DIR", "value": dump }]),
        );
    run_app(image).success();
    let ids = fs::read_to_string(dump.join("ids")).expect("the app wrote its IDs");
    let mut ids = ids.split(' ');
    assert_eq!((ids.next(), ids.next()), (Some("4242"), Some("4343")));
    assert!(
        ids.all(|group| group == "4343"),
        "the app has groups of the host"
    );
}

#[test]
fn a_user_keeps_ambient_capabilities_and_ignores_sigpipe_as_under_systemd() {
    let host = Host::new();
    let image = Image::busybox(&host, "ambient")
        .user("4242", "4343")
        .exec(&[
            "/bin/busybox",
            "grep",
            "-E",
            "^(Uid|CapAmb|SigIgn|Groups)",
            "/proc/self/status",
        ])
        .build();
    let flag = "--property=AmbientCapabilities=CAP_NET_BIND_SERVICE";
    let status = skim(["run".as_ref(), image.as_os_str(), flag.as_ref()]);
    let status = status.success().stdout;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {status}"))
            .trim()
            .to_owned()
    };
    assert_eq!(field("Uid:"), "4242\t4242\t4242\t4242");
    assert_eq!(field("Groups:"), "");
    // capabilities(7): CAP_NET_BIND_SERVICE is 10; signal(7): SIGPIPE is 13.
    assert_eq!(field("CapAmb:"), "0000000000000400");
    assert_eq!(field("SigIgn:"), "0000000000001000");
}

#[test]
fn a_numeric_user_needs_no_passwd() {
    let host = Host::new();
    let image = Image::busybox(&host, "numeric")
        .user("4242", "4343")
        .exec(&["/bin/id", "-u"]);
    assert_eq!(run_app(image).line(), "4242");
}

#[test]
fn a_script_is_run_by_the_images_shell() {
    let host = Host::new();
    // /proc/$$/exe tells the host's shell, which is no busybox, from the image's.
    let script = "#!/bin/sh\nreadlink /proc/$$/exe\n";
    let image = Image::busybox(&host, "script").symlink("/bin/busybox", "bin/readlink");
    let image = image
        .file("usr/bin/app", script, 0o755)
        .exec(&["/usr/bin/app"]);
    let shell = run_app(image).line();
    assert!(shell.ends_with("/rootfs/bin/busybox"), "{shell}");
}

#[test]
fn a_script_gets_the_interpreters_argument_and_its_own() {
    let host = Host::new();
    let script = "#!/bin/sh -e\nfalse\necho \"not reached\"\n";
    let image = Image::busybox(&host, "strict")
        .file("app", script, 0o755)
        .exec(&["/app"]);
    let outcome = run_app(image);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert_eq!(outcome.stdout, "");
}

#[test]
fn a_musl_program_with_a_library_of_its_own_runs() {
    let host = Host::new();
    let image = Image::tree(&host, "musl", "musl").exec(&["/bin/greet"]);
    assert_eq!(run_app(image).line(), "hello from a musl library");
}

#[test]
fn a_program_runs_against_the_images_own_c_library() {
    let host = Host::new();
    let image =
        Image::tree(&host, "glibc", "glibc").exec(&["/usr/bin/getconf", "GNU_LIBC_VERSION"]);
    let version = run_app(image).line();
    let hosts = crate::support::command::run("getconf", ["GNU_LIBC_VERSION"]).line();
    assert!(version.starts_with("glibc 2."), "{version}");
    assert_ne!(version, hosts, "the host's C library was used");
}

#[test]
fn programs_of_the_host_run_from_an_app_with_a_foreign_c_library() {
    let host = Host::new();
    // ip(8) is on the host only: it must not be given the image's libraries.
    let image = Image::tree(&host, "caller", "glibc").exec(&[
        "/bin/bash",
        "-c",
        "ip -V && getconf GNU_LIBC_VERSION",
    ]);
    let outcome = run_app(image).success();
    assert!(outcome.stdout.contains("iproute2"), "{outcome:#?}");
}

#[test]
fn an_app_reached_by_absolute_symlinks_runs() {
    let host = Host::new();
    let image = Image::busybox(&host, "linked")
        .symlink("/etc/alternatives/echo", "usr/local/bin/echo")
        .symlink("/bin/busybox", "etc/alternatives/echo")
        .exec(&["/usr/local/bin/echo", "through two links"]);
    assert_eq!(run_app(image).line(), "through two links");
}

#[test]
fn a_bare_name_is_looked_up_in_the_image_first() {
    let host = Host::new();
    let image = Image::busybox(&host, "bare").file(
        "usr/local/bin/systemctl",
        "#!/bin/sh\necho the image\n",
        0o755,
    );
    assert_eq!(run_app(image.exec(&["systemctl"])).line(), "the image");
}

#[test]
fn the_working_directory_is_the_images() {
    let host = Host::new();
    let image = Image::busybox(&host, "workdir").file("srv/data/file", "found", 0o644);
    let image = image
        .app("workingDirectory", "/srv/data".into())
        .exec(&["/bin/cat", "file"]);
    assert_eq!(run_app(image).line(), "found");
}

#[test]
fn the_apps_path_has_the_image_before_the_host() {
    let host = Host::new();
    let image = Image::busybox(&host, "path").exec(&["/bin/sh", "-c", "echo \"$PATH\""]);
    let path = run_app(image).line();
    let directories: Vec<_> = path.split(':').collect();
    let first_of_host = directories
        .iter()
        .position(|directory| !directory.contains("/rootfs/"));
    let last_of_image = directories
        .iter()
        .rposition(|directory| directory.contains("/rootfs/"));
    assert!(last_of_image < first_of_host, "{path}");
    assert!(last_of_image.is_some(), "{path}");
    assert!(directories.contains(&"/usr/bin"), "{path}");
}

#[test]
fn a_program_is_called_by_the_name_that_the_image_calls_it_by() {
    let host = Host::new();
    // Of busybox's many commands, the name chooses one.
    let image = Image::busybox(&host, "name").exec(&["/bin/../bin/echo", "here"]);
    assert_eq!(run_app(image).success().stdout, "here\n");
}

#[test]
fn an_app_whose_assertion_fails_has_failed() {
    let host = Host::new();
    let image = Image::busybox(&host, "asserting")
        .annotation("skim.dropin", "[Unit]\nAssertPathExists=/nonexistent\n");
    let outcome = run_app(image);
    assert_eq!(outcome.code, Some(254), "{outcome:#?}");
    assert!(outcome.stderr.contains("Assert"), "{outcome:#?}");
}

#[test]
fn a_full_disk_does_not_change_the_exit_code() {
    let host = Host::new();
    let disk = host.directory("disk");
    let mount = ["-t", "tmpfs", "-o", "size=16M", "skim-test"].map(OsStr::new);
    run("mount", mount.into_iter().chain([disk.as_os_str()])).success();
    let image = Image::busybox(&host, "full")
        .exec(&["/bin/sh", "-c", "cat /dev/zero >zeros; exit 6"])
        .build();
    let dir = format!("--dir={}", disk.join("skim").display());
    let outcome = skim([&dir, "run", &image.to_string_lossy()]);
    assert_eq!(outcome.code, Some(6), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("cannot record how the pod ended"),
        "{outcome:#?}"
    );
    skim([&dir, "gc"]).success();
    run("umount", [&disk]).success();
}
