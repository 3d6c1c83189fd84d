//! skim killed in the middle.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use crate::support::command::{run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::{Pod, gc};
use crate::support::trace::{STATE, Trace};
use crate::support::{journal, systemd};

fn stored_files() -> usize {
    run("find", [STATE, "-type", "f"])
        .success()
        .stdout
        .lines()
        .count()
}

#[test]
fn an_import_that_was_killed_is_done_again() {
    let host = Host::new();
    let image = Image::busybox(&host, "interrupted")
        .file("large", vec![b'x'; 256 << 20], 0o644)
        .exec(&["/bin/sleep", "1000000"])
        .build();
    let before = stored_files();
    let mut import = Command::new("skim")
        .arg("fetch")
        .arg(&image)
        .stdout(Stdio::null())
        .spawn()
        .expect("cannot run skim");
    journal::until("the import has begun", || stored_files() > before);
    import.kill().expect("cannot kill skim");
    let status = import.wait().expect("cannot wait for skim");
    assert_eq!(
        status.signal(),
        Some(9),
        "the import was over before it was killed"
    );

    let pod = Pod::start([&image]);
    assert_eq!(
        systemd::state(&pod.service("interrupted")),
        "active (running)"
    );
    let size = std::fs::metadata(pod.rootfs("interrupted").join("large"))
        .expect("the file is there")
        .len();
    assert_eq!(size, 256 << 20);
}

#[test]
fn a_killed_holder_takes_the_pod_down_and_gc_takes_it_away() {
    let host = Host::new();
    let image = Image::busybox(&host, "orphan")
        .exec(&["/bin/sleep", "1000000"])
        .build();
    let pod = Pod::start([&image]);
    run("kill", ["-KILL", &pod.holder().to_string()]).success();
    pod.wait_until_gone();
    gc();
    Trace::assert_none();
}

#[test]
fn a_pod_that_lost_its_unit_files_can_be_collected() {
    let host = Host::new();
    let image = Image::busybox(&host, "bereft")
        .exec(&["/bin/sleep", "1000000"])
        .build();
    let pod = Pod::start([&image]);
    run("sh", ["-c", "rm -rf /run/systemd/system/skim-*"]).success();
    skim(["stop", &pod.uuid]).success();
    gc();
    Trace::assert_none();
}
