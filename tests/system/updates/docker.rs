//! Docker's containers while Docker is updated.

use std::fs;
use std::path::Path;

use super::web::Unit;
use crate::support::command::{Outcome, run, skim};
use crate::support::host::Host;
use crate::support::{journal, process, systemd};

const CONTAINERD: &str = include_str!("../../../units/docker/containerd.skim");
const DOCKER: &str = include_str!("../../../units/docker/docker.skim");

#[track_caller]
fn docker(args: &[&str]) -> Outcome {
    run("docker", args)
}

/// Puts the image of Docker there, with one file more.
#[track_caller]
fn put(place: &Path, version: &str) {
    let script = r#"
        set -e
        mkdir -p "$2.d/rootfs/etc"
        echo "$1" >"$2.d/rootfs/etc/version-of-the-test"
        if gzip -t /opt/images/docker.aci 2>/dev/null; then
            gzip -dc /opt/images/docker.aci >"$2.new"
        else
            cp /opt/images/docker.aci "$2.new"
        fi
        tar -C "$2.d" -rf "$2.new" rootfs/etc/version-of-the-test
        mv "$2.new" "$2"
    "#;
    run(
        "sh",
        [
            "-c".as_ref(),
            script.as_ref(),
            "sh".as_ref(),
            version.as_ref(),
            place.as_os_str(),
        ],
    )
    .success();
}

#[test]
fn containers_live_through_an_update_of_docker() {
    let host = Host::new();
    let image = host.scratch().join("docker.aci");
    put(&image, "1");
    let containerd = Unit::new("test-containerd", CONTAINERD);
    containerd.drop_in("[App containerd]\nImage=/opt/images/containerd.aci\n");
    let daemon = Unit::new("test-docker", DOCKER);
    daemon.drop_in(&format!(
        "[Pod]\nUpdateSettleSec=2\n[App docker]\nImage={}\nSockets=\n\
        Exec=dockerd --host=unix:///run/docker.sock --containerd=/run/containerd/containerd.sock\n",
        image.display()
    ));
    containerd.start();
    daemon.start();
    docker(&["import", "/opt/images/busybox.tar", "busybox:local"]).success();
    let id = docker(&[
        "run",
        "--detach",
        "--net=none",
        "busybox:local",
        "sleep",
        "1000000",
    ])
    .line();
    let pid = docker(&["inspect", "--format={{.State.Pid}}", &id]).line();
    let pid = pid.parse().expect("it is a number");
    let started = process::start_time(pid).expect("it runs");
    put(&image, "2");
    let before = systemd::property("test-docker.service", "InvocationID");
    let updated = skim(["update", "--timeout=100s", "test-docker"]).success();
    assert!(updated.stdout.contains("version 2 runs"), "{updated:#?}");
    assert_ne!(
        systemd::property("test-docker.service", "InvocationID"),
        before
    );
    assert_eq!(process::start_time(pid), Some(started), "it was stopped");
    journal::until("docker has its container again", || {
        docker(&["exec", &id, "true"]).code == Some(0)
    });
    docker(&["rm", "--force", &id]).success();
    fs::remove_file(&image).expect("it is there");
}
