//! What the verbs print.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::command::{run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::{Pod, gc};
use crate::support::trace::Trace;
use crate::support::{journal, systemd};

fn sleeper(host: &Host, name: &str) -> PathBuf {
    Image::busybox(host, name)
        .exec(&["/bin/sleep", "1000000"])
        .build()
}

#[test]
fn run_prints_the_apps_output_with_its_name_where_there_are_several() {
    let host = Host::new();
    let one = Image::busybox(&host, "one")
        .exec(&["/bin/echo", "first"])
        .build();
    let two = Image::busybox(&host, "two")
        .exec(&["/bin/echo", "second"])
        .build();
    assert_eq!(skim(["run".as_ref(), one.as_os_str()]).line(), "first");
    let outcome = skim(["run".as_ref(), one.as_os_str(), two.as_os_str()]).success();
    for (app, text) in [("one", "first"), ("two", "second")] {
        let line = outcome.stdout.lines().find(|line| line.ends_with(text));
        assert!(line.is_some_and(|line| line.contains(app)), "{outcome:#?}");
    }
}

#[test]
fn run_stops_the_pod_on_sigint_and_sigterm() {
    let host = Host::new();
    let image = Image::busybox(&host, "talking")
        .exec(&["/bin/sh", "-c", "echo up; exec sleep 1000000"])
        .build();
    for signal in ["INT", "TERM"] {
        let mut runner = Command::new("skim")
            .arg("run")
            .arg(&image)
            .stdout(Stdio::piped())
            .spawn()
            .expect("cannot run skim");
        // Kept open: a foreground pod ends with its reader.
        let mut stdout = BufReader::new(runner.stdout.take().expect("stdout is a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the app prints a line");
        assert_eq!(line, "up\n");
        run("kill", [format!("-{signal}"), runner.id().to_string()]).success();
        let status = runner.wait().expect("cannot wait for skim");
        assert_eq!(
            status.code(),
            Some(0),
            "skim did not end by itself: {status}"
        );
        let listed = skim(["list", "--full", "--no-legend"]).success().stdout;
        assert!(listed.contains("exited"), "{listed}");
        gc();
        journal::until("no unit is left", || systemd::skim_units().is_empty());
    }
}

#[test]
fn run_saves_the_uuid() {
    let host = Host::new();
    let file = host.scratch().join("uuid");
    let flag = format!("--uuid-file-save={}", file.display());
    let pod = Pod::start([flag.as_ref(), sleeper(&host, "saved").as_os_str()]);
    assert_eq!(
        fs::read_to_string(file).expect("the file was written"),
        pod.uuid
    );
}

#[test]
fn app_flags_name_the_app_and_set_properties() {
    let host = Host::new();
    let image = sleeper(&host, "plain");
    let pod = Pod::start([
        image.as_os_str(),
        "--name=renamed".as_ref(),
        "--property=Nice=7".as_ref(),
    ]);
    let unit = pod.service("renamed");
    assert_eq!(systemd::state(&unit), "active (running)");
    assert_eq!(systemd::property(&unit, "Nice"), "7");
}

#[test]
fn later_apps_depend_on_the_one_before() {
    let host = Host::new();
    let pod = Pod::start([sleeper(&host, "one"), sleeper(&host, "two")]);
    for property in ["Requires", "After"] {
        let units = systemd::property(&pod.service("two"), property);
        assert!(
            units.split(' ').any(|unit| unit == pod.service("one")),
            "{property}={units}"
        );
    }
}

#[test]
fn list_and_status_show_a_pod_from_running_to_exited() {
    let host = Host::new();
    let pod = Pod::start([sleeper(&host, "shown")]);
    let prefix = &pod.uuid[..8];
    let list = skim(["list", "--full"]).success().stdout;
    let line = list
        .lines()
        .find(|line| line.contains(&pod.uuid))
        .expect("the pod is listed");
    assert!(line.contains("shown") && line.contains("running"), "{line}");
    assert!(
        skim(["status", prefix])
            .success()
            .stdout
            .lines()
            .any(|line| line == "state=running")
    );
    pod.stop();
    journal::until("the pod has exited", || {
        skim(["status", prefix])
            .success()
            .stdout
            .lines()
            .any(|line| line == "state=exited")
    });
}

#[test]
fn list_and_status_speak_json() {
    let host = Host::new();
    let pod = Pod::start([sleeper(&host, "one"), sleeper(&host, "two")]);
    let list: Value = serde_json::from_str(&skim(["list", "--format=json"]).success().stdout)
        .expect("list printed JSON");
    let status: Value = serde_json::from_str(
        &skim(["status", &pod.uuid, "--format=json"])
            .success()
            .stdout,
    )
    .expect("status printed JSON");
    for shown in [&list[0], &status] {
        assert_eq!(shown["name"], pod.uuid.as_str());
        assert_eq!(shown["state"], "running");
        assert_eq!(shown["app_names"], serde_json::json!(["one", "two"]));
    }
}

#[test]
fn list_filters_by_state_and_app() {
    let host = Host::new();
    let running = Pod::start([sleeper(&host, "wanted")]);
    let other = Pod::start([sleeper(&host, "other")]);
    let exited = Pod::start([host.scratch().join("wanted.aci")]);
    exited.stop();
    let found = skim(["list", "--state=running", "--app=wanted", "--quiet"])
        .success()
        .stdout;
    assert_eq!(
        found,
        format!("{}\n", running.uuid),
        "the other one is {}",
        other.uuid
    );
}

#[test]
fn enter_runs_a_command_of_the_image_with_the_apps_environment() {
    let host = Host::new();
    let pod = Pod::start([
        sleeper(&host, "entered").as_os_str(),
        "--set-env=GREETING=a  b%$\"".as_ref(),
    ]);
    let outcome = skim([
        "enter",
        &pod.uuid,
        "--",
        "sh",
        "-c",
        "echo \"$GREETING\"; readlink /proc/$$/exe; exit 3",
    ]);
    assert_eq!(outcome.code, Some(3), "{outcome:#?}");
    let mut lines = outcome.stdout.lines();
    assert_eq!(lines.next(), Some("a  b%$\""));
    assert!(
        lines
            .next()
            .is_some_and(|line| line.ends_with("/rootfs/bin/busybox")),
        "{outcome:#?}"
    );
}

#[test]
fn enter_can_hand_on_the_callers_environment() {
    let host = Host::new();
    let pod = Pod::start([sleeper(&host, "inherited")]);
    let args = [
        "HANDED=on",
        "HOME=/home/caller",
        "skim",
        "enter",
        "--inherit-env",
        &pod.uuid,
        "--",
        "sh",
        "-c",
        "echo $HANDED $HOME",
    ];
    assert_eq!(run("env", args).line(), "on /home/caller");
}

#[test]
fn logs_are_the_journals_by_app() {
    let host = Host::new();
    let image = |name| {
        Image::busybox(&host, name)
            .exec(&[
                "/bin/sh",
                "-c",
                "echo \"from $AC_APP_NAME\"; exec sleep 1000000",
            ])
            .build()
    };
    let pod = Pod::start([image("one"), image("two")]);
    journal::until("both have spoken", || {
        let all = skim(["logs", &pod.uuid]).success().stdout;
        all.contains("from one") && all.contains("from two")
    });
    let one = skim(["logs", &pod.uuid, "one"]).success().stdout;
    assert!(
        one.contains("from one") && !one.contains("from two"),
        "{one}"
    );
}

#[test]
fn a_failed_start_leaves_nothing_running() {
    let host = Host::new();
    let good = sleeper(&host, "good");
    // Type=notify without a notification, and with an early end.
    let image = Image::busybox(&host, "mute")
        .annotation("skim.dropin", "[Service]\nType=notify\n")
        .exec(&["/bin/true"])
        .build();
    let outcome = skim([
        "run".as_ref(),
        "--detach".as_ref(),
        good.as_os_str(),
        image.as_os_str(),
    ]);
    assert_ne!(outcome.code, Some(0), "{outcome:#?}");
    journal::until("no unit is left", || systemd::skim_units().is_empty());
    assert_eq!(Trace::take().processes, Vec::<String>::new());
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let _host = Host::new();
    let (reader, writer) = std::io::pipe().expect("cannot make a pipe");
    drop(reader);
    let list = Command::new("skim").arg("list").stdout(writer).output();
    let list = list.expect("cannot run skim");
    assert_eq!(list.status.code(), Some(0), "{list:?}");
    assert_eq!(list.stderr, b"", "{list:?}");
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let _host = Host::new();
    let outcome = run("sh", ["-c", "skim list > /dev/full"]);
    assert_eq!(outcome.code, Some(254), "{outcome:#?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:#?}");
}
