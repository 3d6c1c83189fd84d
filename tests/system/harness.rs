//! The tests' own eyes: what they look for, they see.

use std::fs;

use crate::support::command::run;
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::journal::{self, Cursor};
use crate::support::systemd;
use crate::support::trace::{STATE, Trace};

#[test]
fn daemon_reloads_are_counted() {
    let _host = Host::new();
    let cursor = Cursor::now();
    assert_eq!(systemd::reloads_since(&cursor), 0);
    for _ in 0..2 {
        run("systemctl", ["daemon-reload"]).success();
    }
    assert_eq!(systemd::reloads_since(&cursor), 2);
}

#[test]
fn a_trace_shows_units_files_mounts_processes_and_pods() {
    let host = Host::new();
    let pod = format!("{STATE}/pods/run/harness");
    fs::create_dir_all(format!("{pod}/rootfs")).expect("cannot make a pod directory");
    run("mount", ["-t", "tmpfs", "tmpfs", &format!("{pod}/rootfs")]).success();
    run("cp", ["/bin/busybox", &format!("{pod}/rootfs/busybox")]).success();
    let unit_file = "/run/systemd/system/skim-harness.service";
    let unit = format!("[Service]\nExecStart={pod}/rootfs/busybox sleep infinity\n");
    fs::write(unit_file, unit).expect("cannot write a unit file");
    run("systemctl", ["start", "skim-harness.service"]).success();
    journal::until("the service has exec'd", || {
        !Trace::take().processes.is_empty()
    });

    let trace = Trace::take();

    run("systemctl", ["stop", "skim-harness.service"]).success();
    run("umount", [format!("{pod}/rootfs")]).success();
    fs::remove_file(unit_file).expect("cannot remove the unit file");
    fs::remove_dir_all(&pod).expect("cannot remove the pod directory");
    run("systemctl", ["daemon-reload"]).success();
    assert_eq!(trace.units.len(), 1, "{trace:#?}");
    assert_eq!(trace.unit_files, ["skim-harness.service"]);
    assert_eq!(trace.mounts.len(), 1, "{trace:#?}");
    assert_eq!(trace.processes.len(), 1, "{trace:#?}");
    assert_eq!(trace.pods, ["run/harness"]);
    drop(host);
}

#[test]
fn images_are_tar_archives_of_a_manifest_and_a_rootfs() {
    let host = Host::new();
    let archive = Image::busybox(&host, "listing").build();
    let listing = run(
        "tar",
        ["--list".into(), "--file".into(), archive.into_os_string()],
    )
    .success()
    .stdout;
    for member in ["manifest", "rootfs/", "rootfs/bin/sh", "rootfs/bin/dump"] {
        assert!(
            listing.lines().any(|line| line == member),
            "{member} is missing in {listing}"
        );
    }
}
