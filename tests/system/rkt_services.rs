//! What rkt's own functional tests of services and sockets of systemd ask for, each under the name
//! of rkt's.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};

use serde_json::json;

use crate::support::command::{run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::journal;
use crate::support::pod::Pod;
use crate::support::systemd;

/// Inside a service of systemd: stopping it stops the pod and leaves no unit of it. The pod's
/// processes are in its own slice, and not in the service's.
#[test]
fn rkt_service_file() {
    let host = Host::new();
    let image = Image::busybox(&host, "service")
        .exec(&["/bin/sleep", "1000"])
        .build();
    let uuid_file = host.scratch().join("uuid");
    let save = format!("--uuid-file-save={}", uuid_file.display());
    run(
        "systemd-run",
        [
            "--quiet".as_ref(),
            "--unit=pod-in-a-service".as_ref(),
            "--service-type=exec".as_ref(),
            "--".as_ref(),
            "skim".as_ref(),
            "run".as_ref(),
            save.as_ref(),
            image.as_os_str(),
        ],
    )
    .success();
    journal::until("the pod is up", || {
        let uuid = fs::read_to_string(&uuid_file).unwrap_or_default();
        !uuid.is_empty() && systemd::state(&Pod { uuid }.service("service")) == "active (running)"
    });
    let pod = Pod {
        uuid: fs::read_to_string(&uuid_file).expect("the UUID was saved"),
    };
    run("systemctl", ["stop", "pod-in-a-service.service"]).success();
    pod.wait_until_gone();
    let status = skim(["status", &pod.uuid]).success().stdout;
    assert!(status.contains("state=exited\n"), "{status}");
    run("systemctl", ["reset-failed"]).success();
}

/// A port that is socket-activated: systemd opens it before the app starts, and hands it on. rkt
/// leaves the .socket to the user, and passes on what its own service got; a pod's services are
/// systemd's children, so skim makes the .socket. The first connection starts the app.
#[test]
fn rkt_socket_activation() {
    let host = Host::new();
    let answer = "import os, socket
assert os.environ['LISTEN_FDS'] == '1' and os.environ['LISTEN_PID'] == str(os.getpid())
listening = socket.socket(fileno=3)
while True:
    connection, _ = listening.accept()
    connection.sendall(os.environ['LISTEN_FDNAMES'].encode())
    connection.close()";
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let port = port.expect("a port is free").port();
    let image = |name: &str| {
        let port =
            json!([{"name": "echo", "protocol": "tcp", "port": port, "socketActivated": true}]);
        Image::busybox(&host, name)
            .user("1000", "1000")
            .file("answer.py", answer, 0o644)
            .exec(&["/bin/sh", "-c", "exec python3 $SKIM_ROOTFS/answer.py"])
            .app("ports", port)
            .build()
    };
    let pod = Pod::start([image("listening")]);
    assert_eq!(systemd::main_pid(&pod.service("listening")), 0);
    let ask = || {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        let mut said = String::new();
        connection.read_to_string(&mut said).map(|_| said)
    };
    assert_eq!(ask().expect("it answers"), "echo");
    let socket = format!("skim-{}-listening.echo.socket", pod.uuid.replace('-', ""));
    assert_eq!(systemd::state(&socket), "active (running)");
    let second = skim([
        "run".into(),
        "--quiet".into(),
        image("second").into_os_string(),
    ]);
    assert_eq!(second.code, Some(254), "{second:#?}");
    pod.stop();
    pod.wait_until_gone();
    TcpListener::bind(("0.0.0.0", port)).expect("the port is free again");
}
