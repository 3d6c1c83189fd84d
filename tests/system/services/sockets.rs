//! Apps that the first connection starts.

use std::io::Read;
use std::net::{TcpListener, TcpStream};

use serde_json::json;

use super::{FOREVER, Service, pods};
use crate::support::command::{run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::journal::{self, Cursor};
use crate::support::pod::Pod;
use crate::support::service::Port;
use crate::support::systemd;

/// An image whose app answers one connection on `port`, and ends.
#[track_caller]
fn listener(host: &Host, name: &str, port: &Port, script: &str) -> String {
    let number: u16 = port.number().parse().expect("a port is a number");
    let port = json!([{"name": "web", "protocol": "tcp", "port": number, "socketActivated": true}]);
    let answer = "import socket\nlistening = socket.socket(fileno=3)\n\
                  connection, _ = listening.accept()\nconnection.sendall(b'hello')\n\
                  connection.close()\n";
    let image = Image::busybox(host, name)
        .file("answer.py", answer, 0o644)
        .exec(&["/bin/sh", "-c", script])
        .app("ports", port)
        .build();
    image.to_str().expect("it is text").to_owned()
}

const ANSWER: &str = "exec python3 $SKIM_ROOTFS/answer.py";

fn ask(port: &Port) -> String {
    let mut said = String::new();
    let asked = TcpStream::connect(port.address());
    // Whoever is turned away has heard nothing.
    let _heard = asked.and_then(|mut connection| connection.read_to_string(&mut said));
    said
}

#[track_caller]
fn assert_free(port: &Port) {
    TcpListener::bind(port.address()).expect("nobody listens any more");
}

#[test]
fn the_first_connection_starts_the_app() {
    let host = Host::new();
    let port = Port::free();
    let image = listener(&host, "one", &port, ANSWER);
    let (service, outcome) = Service::run("test-lazy", &[], &["skim", "run", &image]);
    outcome.success();
    let pod = pods().remove(0);
    let is_idle = || service.property("StatusText") == "listening: one";
    for _ in 0..2 {
        journal::until("it listens", is_idle);
        assert_eq!(systemd::main_pid(&pod.service("one")), 0);
        assert_eq!(ask(&port), "hello");
        journal::until("the app has ended", || {
            systemd::state(&pod.service("one")) == "inactive (dead)"
        });
    }
    journal::until("it listens", is_idle);
    service.stop();
    assert_free(&port);
    pod.wait_until_gone();
    assert!(
        skim(["status", &pod.uuid])
            .success()
            .stdout
            .contains("app-one=0\n")
    );
}

#[test]
fn an_app_that_another_requires_starts_with_the_pod() {
    let host = Host::new();
    let port = Port::free();
    let needed = listener(&host, "needed", &port, FOREVER);
    let other = Image::busybox(&host, "needing")
        .exec(&["/bin/sleep", "1000"])
        .build();
    let other = other.to_str().expect("it is text").to_owned();
    let pod = Pod::start([&needed, "---", &other, "--requires=needed"]);
    assert_eq!(systemd::state(&pod.service("needed")), "active (running)");
    pod.stop();
    assert_free(&port);
}

#[test]
fn nothing_listens_when_the_holder_is_gone() {
    let host = Host::new();
    for (name, is_asked) in [("idle", false), ("busy", true)] {
        let port = Port::free();
        let pod = Pod::start([listener(&host, name, &port, FOREVER)]);
        let connection = is_asked.then(|| TcpStream::connect(port.address()).expect("it listens"));
        journal::until("it runs, if it was asked", || {
            (systemd::main_pid(&pod.service(name)) != 0) == is_asked
        });
        run("kill", ["-KILL", &pod.holder().to_string()]).success();
        pod.wait_until_gone();
        assert_free(&port);
        drop(connection);
    }
}

#[test]
fn a_pod_stops_while_its_app_is_being_started() {
    let host = Host::new();
    let port = Port::free();
    let image = listener(&host, "slow", &port, FOREVER);
    let pod = Pod::start([image.as_str(), "--notify"]);
    let _connection = TcpStream::connect(port.address()).expect("it listens");
    journal::until("it starts", || {
        systemd::state(&pod.service("slow")) == "activating (start)"
    });
    pod.stop();
    pod.wait_until_gone();
    assert_free(&port);
}

#[test]
fn a_failure_or_a_socket_that_fails_ends_the_pod() {
    let host = Host::new();
    for (name, script, flag, code, said) in [
        ("failing", "exit 4", "", 4, "exited with code 4"),
        ("leaving", "exit 0", "", 254, "started it too often"),
        (
            "again",
            "exit 0",
            "--property=StartLimitIntervalSec=0",
            254,
            "as it ends without taking the connection (trigger-limit-hit)",
        ),
    ] {
        let port = Port::free();
        let image = listener(&host, name, &port, script);
        let cursor = Cursor::now();
        let args = [image.as_str(), flag];
        let pod = Pod::start(args.iter().filter(|arg| !arg.is_empty()));
        ask(&port);
        pod.wait_until_gone();
        let status = skim(["status", "--wait", "--format=json", &pod.uuid])
            .success()
            .stdout;
        assert!(
            status.contains(&format!("\"exit_code\":{code}")),
            "{name}: {status}"
        );
        let messages = cursor.messages(&["SYSLOG_IDENTIFIER=skim"]);
        let is_said = |line: &str| line.starts_with("app ") && line.contains(said);
        assert!(
            messages.iter().any(|message| is_said(&message.text)),
            "{name}: {messages:#?}"
        );
        assert_free(&port);
    }

    let port = Port::free();
    let _taken = TcpListener::bind(port.address()).expect("it is free");
    let image = listener(&host, "taken", &port, ANSWER);
    let outcome = skim(["run", "--quiet", &image]);
    assert_eq!(outcome.code, Some(254), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("Address already in use"),
        "{outcome:#?}"
    );
}
