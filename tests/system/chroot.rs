//! `--root=image`: the app takes its rootfs for the root of the file system.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::command::{Outcome, run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::{Pod, gc};
use crate::support::trace::Trace;
use crate::support::{process, systemd};

/// `skim run IMAGE --root=image FLAGS…` in the foreground.
#[track_caller]
fn run_inside(image: Image, flags: &[&str]) -> Outcome {
    let mut args: Vec<OsString> = vec!["run".into(), image.build().into(), "--root=image".into()];
    args.extend(flags.iter().map(Into::into));
    skim(args)
}

fn script(host: &Host, name: &str, script: &str) -> Image {
    Image::busybox(host, name)
        .file("marker", "of the image\n", 0o644)
        .exec(&["/bin/sh", "-ec", script])
}

#[test]
fn the_app_sees_its_image_and_the_kernels_file_systems() {
    let host = Host::new();
    for user in ["0", "4242"] {
        let look = "cat /marker; pwd; id -u; test -c /dev/null; echo x >/dev/null; \
                    test -d /proc/1/; test -d /sys/class; test -d /run; test ! -e /opt/images";
        let image = script(&host, &format!("looks{user}"), look).user(user, user);
        let outcome = run_inside(image, &[]).success();
        assert_eq!(outcome.stdout, format!("of the image\n/\n{user}\n"));
    }
}

#[test]
fn relocated_programs_and_scripts_run_in_there() {
    let host = Host::new();
    let image = Image::tree(&host, "foreign", "glibc");
    let image = image.exec(&["/usr/bin/getconf", "GNU_LIBC_VERSION"]);
    let version = run_inside(image, &[]).line();
    let hosts = run("getconf", ["GNU_LIBC_VERSION"]).line();
    assert!(version.starts_with("glibc 2."), "{version}");
    assert_ne!(version, hosts, "the host's C library was used");
    let image = Image::tree(&host, "musl", "musl").exec(&["/bin/greet"]);
    assert_eq!(run_inside(image, &[]).line(), "hello from a musl library");
    let image = Image::busybox(&host, "script")
        .file("usr/bin/app", "#!/bin/sh\necho \"$0 $PWD $PATH\"\n", 0o755)
        .app("workingDirectory", "/usr/bin".into())
        .exec(&["app"]);
    let line = run_inside(image, &[]).line();
    assert!(line.contains("/usr/bin"), "{line}");
    assert!(!line.contains("/pods/"), "{line}");
}

#[test]
fn the_rootfs_may_be_read_only() {
    let host = Host::new();
    let image = script(&host, "constant", "cat /marker; ! touch /x 2>/dev/null");
    let outcome = run_inside(image, &["--readonly-rootfs"]).success();
    assert_eq!(outcome.stdout, "of the image\n");
}

#[test]
fn isolators_hold_in_there_and_handlers_run_there() {
    let host = Host::new();
    let image = script(
        &host,
        "confined",
        "/bin/busybox grep CapBnd /proc/self/status; cat /made",
    )
    .file("prestart", "#!/bin/sh\necho before >/made\n", 0o755)
    .user("4242", "4343")
    .app(
        "eventHandlers",
        json!([{ "name": "pre-start", "exec": ["/prestart"] }]),
    );
    let flags = [
        "--caps-retain=CAP_CHOWN",
        "--seccomp=mode=remove,setresuid,setgroups",
    ];
    let outcome = run_inside(image, &flags).success();
    assert_eq!(outcome.stdout, "CapBnd:\t0000000000000001\nbefore\n");
}

#[test]
fn a_volume_is_at_its_target() {
    let host = Host::new();
    let source = host.directory("source");
    fs::write(source.join("file"), "of the volume\n").expect("cannot write to the volume");
    let image = script(
        &host,
        "volume",
        "cat /data/file; echo \"$SKIM_VOLUME_DATA\"; echo x >/data/new",
    );
    let volume = format!("--volume=data,kind=host,source={}", source.display());
    let flags = [&volume, "--mount=volume=data,target=/data"];
    let outcome = run_inside(image, &flags).success();
    assert_eq!(outcome.stdout, "of the volume\n/data\n");
    assert_eq!(
        fs::read_to_string(source.join("new")).expect("it is there"),
        "x\n"
    );
}

/// systemd's own file system is at /run in there.
#[test]
fn a_volume_beneath_run_is_seen() {
    let host = Host::new();
    let source = host.directory("source: 0%");
    fs::write(source.join("file"), "of the volume\n").expect("cannot write to the volume");
    fs::create_dir(source.join("inner")).expect("cannot make a directory");
    // By a link of the image's, too, and with an app's further volume within one.
    let look = "cat /run/own/file /var/run/fixed/file /run/own/inner/file /run/alone; \
                echo x >/run/own/new; ! touch /run/fixed/y 2>/dev/null; \
                ! touch /run/own/inner/y 2>/dev/null; test ! -e /run/systemd/system";
    let image = script(&host, "runs", look).symlink("/run", "var/run");
    let alone = source.join("file");
    let volume = |name: &str, source: &Path, further: &str| {
        format!(
            "--volume={name},kind=host,source={}{further}",
            source.display()
        )
    };
    let flags = [
        &volume("own", &source, ""),
        "--mount=volume=own,target=/var/run/own",
        &volume("fixed", &source, ",readOnly=true"),
        "--mount=volume=fixed,target=/var/run/fixed",
        &volume("inner", &source, ",readOnly=true"),
        "--mount=volume=inner,target=/run/own/inner",
        &volume("alone", &alone, ""),
        "--mount=volume=alone,target=/run/alone",
        "--readonly-rootfs",
    ];
    let outcome = run_inside(image, &flags).success();
    assert_eq!(outcome.stdout, "of the volume\n".repeat(4));
    let new = fs::read_to_string(source.join("new")).expect("it is there");
    assert_eq!(new, "x\n");
    assert!(!source.join("y").exists());
}

#[test]
fn a_volume_where_skim_itself_mounts_is_refused() {
    let host = Host::new();
    let source = host.directory("source");
    let image = script(&host, "covers", "true").build();
    let volume = format!("--volume=v,kind=host,source={}", source.display());
    for target in [
        "/var",
        "/var/lib",
        "/usr/local",
        "/run",
        "/proc/x",
        "/dev/shm",
    ] {
        let mount = format!("--mount=volume=v,target={target}");
        let args = [image.to_str().expect("the path is text"), &volume, &mount];
        let outcome = skim(["run", args[0], "--root=image", args[1], args[2]]);
        assert_eq!(outcome.code, Some(254), "{outcome:#?}");
        assert!(outcome.stderr.contains(target), "{outcome:#?}");
        assert!(outcome.stderr.contains("another target"), "{outcome:#?}");
    }
    let made = fs::read_dir(&source).expect("it is there").count();
    assert_eq!(made, 0);
    Trace::assert_none();
}

/// The host's systemd-notify(1) and systemd-cat(1) with their libraries, at their own paths.
#[track_caller]
fn with_tools_of_systemd(mut image: Image) -> Image {
    for tool in ["/usr/bin/systemd-notify", "/usr/bin/logger"] {
        let libraries = run("ldd", [tool]).success().stdout;
        let libraries = libraries
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        for path in libraries.chain([tool]) {
            let contents = fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
            image = image.file(&path[1..], contents, 0o755);
        }
    }
    image
}

#[test]
fn the_app_can_say_that_it_is_ready_and_write_to_the_log() {
    let host = Host::new();
    let image = script(
        &host,
        "notifies",
        "/usr/bin/logger --tag skim-chroot hello from inside; \
         /usr/bin/systemd-notify --ready --status=inside; exec sleep 1000000",
    );
    let image = with_tools_of_systemd(image).build();
    let pod = Pod::start([
        image.as_os_str(),
        "--root=image".as_ref(),
        "--notify".as_ref(),
    ]);
    let service = pod.service("notifies");
    assert_eq!(systemd::property(&service, "StatusText"), "inside");
    let log = [
        "--quiet",
        "--identifier=skim-chroot",
        "--output=cat",
        "--lines=1",
    ];
    run("journalctl", ["--sync"]).success();
    assert_eq!(run("journalctl", log).line(), "hello from inside");
    pod.stop();
    gc();
}

#[test]
fn enter_sees_what_the_app_sees() {
    let host = Host::new();
    let image = script(&host, "entered", "echo mine >/run/made; exec sleep 1000000")
        .app("environment", json!([{ "name": "MODE", "value": "image" }]))
        .build();
    let pod = Pod::start([image.as_os_str(), "--root=image".as_ref()]);
    let enter = |command: &[&str]| {
        let args = ["enter", &pod.uuid, "--"]
            .into_iter()
            .chain(command.iter().copied());
        skim(args).success().stdout
    };
    // /run is the app's own, in a file system that its mount namespace alone has. The app may
    // not have come so far yet.
    crate::support::journal::until("the app has written", || {
        let made = ["enter", &pod.uuid, "--", "test", "-s", "/run/made"];
        skim(made).code == Some(0)
    });
    let look = "cat /marker /run/made; pwd; echo $MODE";
    assert_eq!(enter(&["sh", "-c", look]), "of the image\nmine\n/\nimage\n");
    let pid = systemd::main_pid(&pod.service("entered"));
    let namespace = process::namespace(pid, "mnt");
    assert_ne!(namespace, process::namespace(1, "mnt"));
    let own = enter(&["/bin/busybox", "readlink", "/proc/self/ns/mnt"]);
    assert_eq!(Path::new(own.trim_end()), namespace);
    pod.stop();
    let outcome = skim(["enter", &pod.uuid]);
    assert_eq!(outcome.code, Some(254), "{outcome:#?}");
    gc();
}

/// As a stage1, the host's shell is a dynamic program like any other.
#[test]
fn a_dynamic_stage1_is_refused_while_the_pod_is_planned() {
    let host = Host::new();
    let image = script(&host, "planned", "true").build();
    let user = ["--user=4242", "--group=4343"];
    for (flags, says) in [
        (&["--root=image"][..], "--root=image takes a static"),
        (
            &[&user[..], &["--seccomp=mode=remove,reboot"]].concat(),
            "a system call filter takes a static",
        ),
        (
            &[&user[..], &["--environment=LD_PRELOAD=/x.so"]].concat(),
            "its environment variable LD_PRELOAD takes a static",
        ),
    ] {
        let args = ["--stage1-path=/bin/sh", "run"].map(OsString::from);
        let args = args.into_iter().chain([image.clone().into()]);
        let outcome = skim(args.chain(flags.iter().map(Into::into)));
        assert_eq!(outcome.code, Some(254), "{outcome:#?}");
        let last = outcome.stderr.lines().last().unwrap_or_default();
        assert!(last.contains(says), "{says}: {outcome:#?}");
        assert!(last.contains("packaging/install"), "{outcome:#?}");
        Trace::assert_none();
    }
}
