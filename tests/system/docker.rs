//! The main job: Docker and containerd, out of another Debian release's packages, as one pod.

use std::io::Write;
use std::process::Stdio;

use crate::daemons::DockerPod;
use crate::support::command::{Outcome, limited, run};
use crate::support::host::Host;
use crate::support::process;
use crate::support::systemd;

#[test]
fn containerd_is_up_before_dockerd_starts_though_named_second() {
    let host = Host::new();
    let docker = DockerPod::start(&host);
    let up = systemd::number(&docker.containerd(), "ActiveEnterTimestampMonotonic");
    let started = systemd::number(&docker.dockerd(), "ExecMainStartTimestampMonotonic");
    assert!(
        up <= started,
        "containerd was up at {up}, dockerd started at {started}"
    );
}

#[test]
fn both_daemons_are_running_notify_services() {
    let host = Host::new();
    let docker = DockerPod::start(&host);
    for unit in [docker.containerd(), docker.dockerd()] {
        assert_eq!(systemd::state(&unit), "active (running)", "{unit}");
        assert_eq!(systemd::property(&unit, "Type"), "notify", "{unit}");
        assert_eq!(
            systemd::property(&unit, "Slice"),
            docker.pod.slice(),
            "{unit}"
        );
    }
}

#[test]
fn both_daemons_see_the_hosts_root_and_namespaces() {
    let host = Host::new();
    let docker = DockerPod::start(&host);
    for (app, unit) in [
        ("containerd", docker.containerd()),
        ("docker", docker.dockerd()),
    ] {
        let pid = systemd::main_pid(&unit);
        assert_eq!(process::root(pid).to_str(), Some("/"), "root of {app}");
        for kind in process::NAMESPACES {
            // The cgroup namespace is the machine's own as well: nothing unshares it.
            assert_eq!(
                process::namespace(pid, kind),
                process::namespace(1, kind),
                "{kind} of {app}"
            );
        }
    }
}

#[test]
fn both_daemons_are_executed_out_of_the_pod() {
    let host = Host::new();
    let docker = DockerPod::start(&host);
    for (app, unit) in [
        ("containerd", docker.containerd()),
        ("docker", docker.dockerd()),
    ] {
        let executable = process::executable(systemd::main_pid(&unit));
        let rootfs = docker.pod.rootfs(app);
        assert!(
            executable.starts_with(&rootfs),
            "{} is not below {}",
            executable.display(),
            rootfs.display()
        );
    }
}

#[test]
fn docker_run_prints_what_the_container_prints() {
    let host = Host::new();
    let docker = DockerPod::start(&host);
    let outcome = docker.run_busybox(&["--rm"], &["echo", "hello from a container"]);
    assert_eq!(outcome.line(), "hello from a container");
}

#[test]
fn the_docker_that_answers_is_the_images() {
    let host = Host::new();
    let docker = DockerPod::start(&host);
    let format = "--format={{.Client.Version}} {{.Server.Version}}";
    let versions = run("docker", ["version", format]).line();
    let label = docker.image_version();
    for version in versions.split(' ') {
        assert!(
            version.starts_with(&label),
            "{version} is not the image's {label}"
        );
    }
}

#[test]
fn dockers_storage_driver_is_overlay2() {
    let host = Host::new();
    let _docker = DockerPod::start(&host);
    assert_eq!(
        run("docker", ["info", "--format={{.Driver}}"]).line(),
        "overlay2"
    );
}

#[test]
fn the_wrapper_passes_stdin_and_the_exit_code() {
    let host = Host::new();
    let docker = DockerPod::start(&host);
    let image = docker.busybox();
    let mut child = limited("docker")
        .args([
            "run",
            "--rm",
            "--interactive",
            image,
            "sh",
            "-c",
            "cat; exit 42",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cannot run the wrapper");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    stdin
        .write_all(b"through the wrapper")
        .expect("cannot write to the container");
    drop(stdin);
    let outcome: Outcome = child
        .wait_with_output()
        .expect("cannot wait for the wrapper")
        .into();
    assert_eq!(outcome.code, Some(42), "{outcome:#?}");
    assert_eq!(outcome.stdout, "through the wrapper");
}

#[test]
fn the_wrapper_passes_a_terminal() {
    let host = Host::new();
    let docker = DockerPod::start(&host);
    let command = format!(
        "docker run --rm --interactive --tty {} sh -c 'test -t 0'",
        docker.busybox()
    );
    // script(1) gives it a terminal; without one docker refuses --tty.
    run(
        "script",
        ["--quiet", "--return", "--command", &command, "/dev/null"],
    )
    .success();
}

#[test]
fn the_wrapper_says_when_no_such_pod_runs() {
    let _host = Host::new();
    let outcome = run("docker", ["version"]);
    assert_eq!(outcome.code, Some(125));
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:#?}");
    assert!(
        outcome.stderr.contains("no running pod has an app docker"),
        "{outcome:#?}"
    );
}
