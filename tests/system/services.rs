//! Pods that run as services of systemd: what the unit says of them, when they start and stop, and
//! what is left.

mod sockets;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::command::{Outcome, run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::journal::{self, Cursor};
use crate::support::pod::Pod;
use crate::support::systemd;

const FOREVER: &str = "exec sleep 1000";

/// A transient service of `Type=notify`, gone when dropped.
struct Service {
    unit: String,
    pod_file: Option<PathBuf>,
}

impl Service {
    /// Starts `command` as the service, and returns when it is up, or has failed.
    #[track_caller]
    fn run(name: &str, properties: &[&str], command: &[&str]) -> (Self, Outcome) {
        let mut args = vec!["--quiet".to_owned(), format!("--unit={name}.service")];
        let all = [
            "Type=notify",
            "NotifyAccess=main",
            "After=dbus.service dbus.socket",
        ];
        let all = all.iter().chain(properties);
        args.extend(all.map(|property| format!("--property={property}")));
        args.extend(command.iter().map(ToString::to_string));
        let outcome = run("systemd-run", args);
        let service = Self {
            unit: format!("{name}.service"),
            pod_file: None,
        };
        (service, outcome)
    }

    /// Starts a pod file.
    #[track_caller]
    fn start(name: &str, properties: &[&str], pod_file: &str) -> (Self, Outcome) {
        let path = pod_file_path(name, pod_file);
        let (mut service, outcome) = Self::run(name, properties, &["skim", "service", "run", name]);
        service.pod_file = Some(path);
        (service, outcome)
    }

    #[track_caller]
    fn property(&self, name: &str) -> String {
        systemd::property(&self.unit, name)
    }

    /// `ActiveState Result ExecMainStatus`.
    #[track_caller]
    fn end(&self) -> String {
        ["ActiveState", "Result", "ExecMainStatus"]
            .map(|name| self.property(name))
            .join(" ")
    }

    #[track_caller]
    fn wait_for(&self, end: &str) {
        journal::until(end, || self.end() == end);
    }

    #[track_caller]
    fn stop(&self) {
        run("systemctl", ["stop", "--", &self.unit]).success();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may be gone already, which is what is wanted.
        run("systemctl", ["stop", "--", &self.unit]);
        run("systemctl", ["reset-failed", "--", &self.unit]);
        if let Some(path) = &self.pod_file {
            fs::remove_file(path).expect("the pod file is there");
        }
    }
}

#[track_caller]
fn pod_file_path(name: &str, text: &str) -> PathBuf {
    fs::create_dir_all("/run/skim").expect("/run/skim can be made");
    let path = PathBuf::from(format!("/run/skim/{name}.skim"));
    fs::write(&path, text).expect("the pod file can be written");
    path
}

/// An app's section in a pod file, of an image that runs a shell script as the user `user`.
#[track_caller]
fn app(host: &Host, name: &str, user: &str, script: &str) -> String {
    let image = Image::busybox(host, name)
        .user(user, user)
        .exec(&["/bin/sh", "-c", script])
        .build();
    format!("[App {name}]\nImage={}\n", image.display())
}

/// The pods there are, those that run first.
#[track_caller]
fn pods() -> Vec<Pod> {
    let uuids = skim(["list", "--quiet"]).success().stdout;
    let pods = uuids.lines().map(|uuid| Pod {
        uuid: uuid.to_owned(),
    });
    let mut pods: Vec<_> = pods.collect();
    pods.sort_by_key(|pod| systemd::property(&pod.scope(), "ActiveState") != "active");
    pods
}

#[test]
fn the_status_tells_what_runs() {
    let host = Host::new();
    let second = app(&host, "second", "1000", FOREVER);
    let text = app(&host, "first", "0", FOREVER) + &second + "Requires=first\n";
    let (service, outcome) = Service::start("test-status", &[], &text);
    outcome.success();
    assert_eq!(systemd::state(&service.unit), "active (running)");
    journal::until("it tells", || {
        service.property("StatusText") == "running: first, second"
    });
    let pod = &pods()[0];
    for unit in [
        pod.service("first"),
        pod.service("second"),
        pod.slice(),
        pod.scope(),
    ] {
        assert_eq!(
            systemd::property(&unit, "DefaultDependencies"),
            "no",
            "{unit}"
        );
    }
    let pid = systemd::main_pid(&pod.service("first"));
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).expect("it runs");
    assert!(!environment.contains("NOTIFY_SOCKET"), "{environment}");
    service.stop();
    // Nothing is left when systemctl returns.
    let left = systemd::skim_units();
    assert!(
        !left.iter().any(|unit| unit.contains(".service")),
        "{left:?}"
    );
    assert_eq!(
        run("systemctl", ["is-failed", &service.unit]).stdout,
        "inactive\n"
    );
}

#[test]
fn any_unit_that_listens_is_told() {
    let host = Host::new();
    let image = Image::busybox(&host, "plain")
        .exec(&["/bin/sleep", "1000"])
        .build();
    let image = image.to_str().expect("it is text");
    let (service, outcome) = Service::run("test-plain", &[], &["skim", "run", image]);
    outcome.success();
    journal::until("it tells", || {
        service.property("StatusText") == "running: plain"
    });
    run("systemctl", ["kill", "--", &service.unit]).success();
    journal::until("it has stopped", || {
        service.property("ActiveState") == "inactive"
    });
}

#[test]
fn the_failure_of_an_app_is_the_services() {
    let cursor = Cursor::now();
    for (name, script, starts) in [
        ("at-once", "exit 5", None),
        ("later", "sleep 1; exit 5", Some(0)),
    ] {
        let host = Host::new();
        let text = app(&host, "good", "0", FOREVER) + &app(&host, name, "0", script);
        let (service, outcome) = Service::start(&format!("test-{name}"), &[], &text);
        assert!(starts.is_none() || outcome.code == starts, "{outcome:#?}");
        service.wait_for("failed exit-code 5");
        let status = format!("{name} failed: exit code 5; ended: good");
        assert_eq!(service.property("StatusText"), status);
        let unit = format!("OBJECT_SYSTEMD_UNIT={}", service.unit);
        let said = format!("app {name} failed: exited with code 5");
        let messages = cursor.messages(&[&unit]);
        assert!(
            messages.iter().any(|message| message.text == said),
            "{messages:#?}"
        );
    }
}

#[test]
fn it_is_started_again_when_it_has_failed() {
    let host = Host::new();
    let text = app(&host, "steady", "0", FOREVER);
    let (service, outcome) = Service::start("test-again", &["Restart=on-failure"], &text);
    outcome.success();
    let old = pods().remove(0);
    systemd::kill_main(&service.unit, "KILL");
    journal::until("it runs again", || {
        service.property("NRestarts") == "1" && systemd::state(&service.unit) == "active (running)"
    });
    old.wait_until_gone();
    let pods = pods();
    assert_eq!(pods.len(), 2);
    assert_eq!(
        systemd::state(&pods[0].service("steady")),
        "active (running)"
    );
    service.stop();

    let text = app(&host, "never", "0", "exit 7");
    let limits = [
        "Restart=always",
        "StartLimitBurst=2",
        "StartLimitIntervalSec=600",
    ];
    let (service, _) = Service::start("test-limit", &limits, &text);
    journal::until("it is given up", || {
        let state = systemd::state(&service.unit);
        state == "failed (failed)" && service.property("Job").is_empty()
    });
    assert_eq!(self::pods().len(), pods.len() + 2);
}

#[test]
fn a_stop_that_takes_too_long_is_the_apps_to_finish() {
    let host = Host::new();
    let deaf = app(&host, "deaf", "0", "trap : TERM; while :; do sleep 1; done");
    let text = deaf + "TimeoutStopSec=3\n";
    let (service, outcome) = Service::start("test-deaf", &["TimeoutStopSec=1"], &text);
    outcome.success();
    let pod = pods().remove(0);
    service.stop();
    assert_eq!(
        service.end().split(' ').take(2).collect::<Vec<_>>(),
        ["failed", "timeout"]
    );
    pod.wait_until_gone();
}

/// Unit files of the test's, removed when dropped.
struct UnitFiles(Vec<PathBuf>);

impl UnitFiles {
    #[track_caller]
    fn write(files: &[(&str, &str)]) -> Self {
        let paths = files.iter().map(|(name, text)| {
            let path = PathBuf::from("/run/systemd/system").join(name);
            fs::write(&path, text).expect("a unit file can be written");
            path
        });
        let paths = Self(paths.collect());
        run("systemctl", ["daemon-reload"]).success();
        paths
    }
}

impl Drop for UnitFiles {
    fn drop(&mut self) {
        for path in &self.0 {
            fs::remove_file(path).expect("the unit file is there");
        }
        run("systemctl", ["daemon-reload"]);
    }
}

/// Whatever stops a host's units in their order stops the apps in that of their service: after
/// what comes after it, before what it comes after.
#[test]
fn apps_stop_when_their_service_does() {
    let host = Host::new();
    let script = "trap 'echo stopped app; exit 0' TERM; while :; do sleep 0.1; done";
    let pod_file = pod_file_path("test-middle", &app(&host, "ordered", "0", script));
    let around = |unit: &str| {
        format!(
            "[Unit]\n{unit}\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
        )
    };
    let first = around("") + "ExecStop=/bin/echo stopped first\n";
    let last = around("After=test-middle.service")
        + "ExecStop=/bin/sleep 1\nExecStop=/bin/echo stopped last\n";
    let middle = "[Unit]\nAfter=test-first.service dbus.service dbus.socket\n\
                  Wants=test-first.service test-last.service\n\
                  [Service]\nType=notify\nExecStart=skim service run test-middle\n";
    let all = "test-first.service test-middle.service test-last.service";
    let target = format!("[Unit]\nConflicts={all}\nAfter={all}\n");
    let _units = UnitFiles::write(&[
        ("test-first.service", &first),
        ("test-middle.service", middle),
        ("test-last.service", &last),
        ("test-down.target", &target),
    ]);
    let stopped = |cursor: &Cursor| {
        let messages = cursor.messages(&["_TRANSPORT=stdout"]);
        let texts = messages.into_iter().map(|message| message.text);
        let texts: Vec<_> = texts.filter(|text| text.starts_with("stopped ")).collect();
        texts.join(", ")
    };
    let expected = "stopped last, stopped app, stopped first";
    let up = || {
        run(
            "systemctl",
            ["start", "test-middle.service", "test-last.service"],
        )
        .success();
        Cursor::now()
    };

    let cursor = up();
    run("systemctl", ["start", "test-down.target"]).success();
    assert_eq!(stopped(&cursor), expected);
    run("systemctl", ["stop", "test-down.target"]).success();
    fs::remove_file(pod_file).expect("the pod file is there");
}

/// What root's apps say is found by the service's name, which journalctl believes of nobody else;
/// what all of them say by the field.
#[test]
fn the_journal_of_the_service_has_its_apps() {
    let host = Host::new();
    let say = |what: &str| format!("echo {what} out; sleep 2; echo {what} later; {FOREVER}");
    let text = app(&host, "root", "0", &say("root")) + &app(&host, "other", "1000", &say("other"));
    let (service, outcome) = Service::start("test-journal", &[], &text);
    outcome.success();
    let of_unit = || {
        run("journalctl", ["--sync"]).success();
        let args = ["--quiet", "--output=cat", "--boot", "--unit", &service.unit];
        run("journalctl", args).success().stdout
    };
    journal::until("root's app is heard", || of_unit().contains("root later"));
    let said = of_unit();
    assert!(said.contains("root out\n"), "{said}");
    let uuid = pods()[0].uuid.clone();
    journal::until("every app is in skim's own log", || {
        let all = skim(["logs", &uuid]).success().stdout;
        all.contains("other later") && all.contains("root later")
    });
    let field = format!("OBJECT_SYSTEMD_UNIT={}", service.unit);
    let all = run("journalctl", ["--quiet", "--output=cat", &field]).success();
    assert!(all.stdout.contains("other later"), "{all:#?}");
    let fields = [
        "SYSLOG_IDENTIFIER=other",
        "SKIM_APP=other",
        &format!("SKIM_POD_UUID={uuid}"),
    ];
    let options = ["--quiet", "--output=json", "--lines=1"];
    let entry = run("journalctl", options.iter().chain(&fields)).success();
    let entry: Value = serde_json::from_str(&entry.stdout).expect("it is one entry");
    assert_eq!(entry["MESSAGE"], "other later", "{entry:#}");
    let image = entry["SKIM_IMAGE"].as_str().unwrap_or_default();
    skim(["image", "cat-manifest", image]).success();
    service.stop();
}
