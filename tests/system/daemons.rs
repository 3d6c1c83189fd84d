//! Docker's daemons: how the tests start them, and that they can be killed under their containers.

use std::path::Path;

use serde_json::Value;

use crate::support::command::{Outcome, run};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::Pod;
use crate::support::{journal, process, systemd};

const IMAGES: &str = "/opt/images";
const BUSYBOX: &str = "busybox:local";

/// The demo's pod. Dropping it removes its containers: they would outlive it, as they should.
pub(crate) struct DockerPod {
    pub(crate) pod: Pod,
}

impl DockerPod {
    /// Starts it with docker named first; a container's image is there, too.
    #[track_caller]
    pub(crate) fn start(host: &Host) -> Self {
        let images = [
            format!("{IMAGES}/docker.aci"),
            format!("{IMAGES}/containerd.aci"),
        ];
        Self::of(host, &images.each_ref().map(String::as_str))
    }

    /// The same of other images.
    #[track_caller]
    pub(crate) fn of(_host: &Host, args: &[&str]) -> Self {
        let docker = Self {
            pod: Pod::start(args),
        };
        run(
            "docker",
            ["import", &format!("{IMAGES}/busybox.tar"), BUSYBOX],
        )
        .success();
        docker
    }

    pub(crate) fn dockerd(&self) -> String {
        self.pod.service("docker")
    }

    pub(crate) fn containerd(&self) -> String {
        self.pod.service("containerd")
    }

    /// The name of a container image with a busybox in it.
    pub(crate) fn busybox(&self) -> &'static str {
        BUSYBOX
    }

    /// `docker run OPTIONS… busybox COMMAND…`.
    #[track_caller]
    pub(crate) fn run_busybox(&self, options: &[&str], command: &[&str]) -> Outcome {
        run(
            "docker",
            [&["run"], options, &[self.busybox()], command].concat(),
        )
    }

    /// The version label of docker.aci.
    #[track_caller]
    pub(crate) fn image_version(&self) -> String {
        let image = format!("{IMAGES}/docker.aci");
        let manifest = run(
            "tar",
            ["--extract", "--to-stdout", "--file", &image, "manifest"],
        )
        .success()
        .stdout;
        let manifest: Value = serde_json::from_str(&manifest).expect("the manifest is no JSON");
        let labels = manifest["labels"].as_array().expect("the image has labels");
        let version = labels.iter().find(|label| label["name"] == "version");
        version
            .and_then(|label| label["value"].as_str())
            .expect("the image has a version")
            .to_owned()
    }

    /// A container that runs until it is removed.
    #[track_caller]
    fn long_container(&self) -> Container {
        let id = self
            .run_busybox(&["--detach"], &["sleep", "1000000"])
            .line();
        let pid = run("docker", ["inspect", "--format={{.State.Pid}}", &id]).line();
        let pid = pid.parse().expect("a PID is a number");
        let start_time = process::start_time(pid).expect("the container runs");
        Container {
            id,
            pid,
            start_time,
        }
    }
}

impl Drop for DockerPod {
    fn drop(&mut self) {
        // It runs in a failed test, too: what cannot be removed shows in the host's trace.
        let containers = run("docker", ["ps", "--all", "--quiet"]).stdout;
        if !containers.is_empty() {
            run(
                "docker",
                ["rm", "--force"].into_iter().chain(containers.lines()),
            );
        }
    }
}

struct Container {
    id: String,
    pid: u32,
    start_time: u64,
}

impl Container {
    /// Fails unless it is the very process that it was.
    #[track_caller]
    fn assert_never_stopped(&self) {
        assert_eq!(
            process::start_time(self.pid),
            Some(self.start_time),
            "the container was stopped"
        );
    }

    /// Whether dockerd and containerd can still do something with it.
    fn answers(&self) -> bool {
        run("docker", ["exec", &self.id, "true"]).code == Some(0)
    }
}

/// Kills a daemon and waits until the service manager has brought up another.
#[track_caller]
fn kill_and_wait(unit: &str) {
    let before = systemd::main_pid(unit);
    systemd::kill_main(unit, "KILL");
    journal::until("the daemon is back", || {
        let pid = systemd::main_pid(unit);
        pid != 0 && pid != before && systemd::state(unit) == "active (running)"
    });
}

#[test]
fn containers_outlive_a_killed_dockerd_which_comes_back() {
    let host = Host::new();
    let docker = DockerPod::start(&host);
    let container = docker.long_container();
    let containerd = systemd::main_pid(&docker.containerd());

    kill_and_wait(&docker.dockerd());

    container.assert_never_stopped();
    journal::until("dockerd answers for its container", || container.answers());
    container.assert_never_stopped();
    assert_eq!(
        systemd::main_pid(&docker.containerd()),
        containerd,
        "containerd was restarted"
    );
}

#[test]
fn containers_outlive_a_killed_containerd_which_comes_back() {
    let host = Host::new();
    let docker = DockerPod::start(&host);
    let container = docker.long_container();

    kill_and_wait(&docker.containerd());

    container.assert_never_stopped();
    journal::until("containerd answers for its container", || {
        container.answers()
    });
    container.assert_never_stopped();
}

#[test]
fn the_images_of_the_daemons_are_there() {
    let _host = Host::new();
    for image in ["docker.aci", "containerd.aci", "busybox.tar"] {
        let path = Path::new(IMAGES).join(image);
        assert!(path.is_file(), "{} is missing", path.display());
    }
}

#[test]
fn an_image_can_require_an_app_by_its_annotation() {
    let host = Host::new();
    let first = Image::busybox(&host, "first").exec(&["/bin/sleep", "1000000"]);
    let second = Image::busybox(&host, "second").exec(&["/bin/sleep", "1000000"]);
    let images = [
        first.annotation("skim.requires", "second").build(),
        second.build(),
    ];
    let pod = Pod::start(images);
    let requires = systemd::property(&pod.service("first"), "Requires");
    assert!(
        requires
            .split(' ')
            .any(|unit| unit == pod.service("second")),
        "{requires}"
    );
    let requires = systemd::property(&pod.service("second"), "Requires");
    assert!(!requires.contains(&pod.service("first")), "{requires}");
}
