//! `Socket=`: sockets that are systemd's, and outlive the pod.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{Files, pods, reload, systemctl};
use crate::support::command::run;
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::journal;
use crate::support::service::Port;
use crate::support::systemd;
use crate::support::trace::Trace;

/// An app that answers every connection to the socket that it was given, with its PID.
fn answering(host: &Host, name: &str) -> String {
    let answer = "import os, socket
assert os.environ['LISTEN_FDS'] == '1' and os.environ['LISTEN_PID'] == str(os.getpid())
listening = socket.socket(fileno=3)
while True:
    connection, _ = listening.accept()
    connection.sendall(b'%d' % os.getpid())
    connection.close()";
    let image = Image::busybox(host, name)
        .file("answer.py", answer, 0o644)
        .exec(&["/bin/sh", "-c", "exec python3 $SKIM_ROOTFS/answer.py"])
        .build();
    image.display().to_string()
}

#[test]
fn the_first_connection_starts_the_pod_and_one_during_a_restart_is_served() {
    let host = Host::new();
    let image = answering(&host, "answering");
    let port = Port::free();
    let mut files = Files::new(&host);
    let unix = host.scratch().join("a %b.sock");
    files.units.push("pf-sock.socket".to_owned());
    files.pod(
        "pf-sock",
        &format!("[App pf-sock]\nImage={image}\nSocket={}\n", port.address()),
    );
    files.units.push("pf-sock-unix.socket".to_owned());
    files.put(
        "/etc/skim/pf-sock.skim.d/unix.conf",
        &format!(
            "[App unix]\nImage={image}\nSocket=\"{}\"\nSocketMode=0600\n",
            unix.display()
        ),
    );
    reload();
    run(
        "systemctl",
        ["start", "pf-sock.socket", "pf-sock-unix.socket"],
    )
    .success();
    assert_eq!(systemd::state("pf-sock.service"), "inactive (dead)");
    assert!(unix.exists());

    let ask = || {
        let mut connection = TcpStream::connect(port.address()).expect("it listens");
        let mut said = String::new();
        connection.read_to_string(&mut said).expect("it answers");
        said
    };
    let first = ask();
    journal::until("the pod is up", || {
        systemd::state("pf-sock.service") == "active (running)"
    });
    let holder = systemd::main_pid("pf-sock.service");
    let held = run("ls", ["-l", &format!("/proc/{holder}/fd")])
        .success()
        .stdout;
    let listening = run("ss", ["-lntpH", "sport", &format!("= :{}", port.number())]).stdout;
    assert!(
        !listening.contains(&format!("pid={holder},")),
        "{held}{listening}"
    );

    let restart = std::thread::spawn(|| systemctl("restart", "pf-sock"));
    let mut connection = TcpStream::connect(port.address()).expect("it listens all the time");
    // It may be answered by the pod that ends.
    let _sent = connection.write_all(b"x");
    let mut said = String::new();
    let _read = connection.read_to_string(&mut said);
    restart.join().expect("systemctl ran").success();
    let second = ask();
    assert_ne!(first, second, "the pod was started anew");
    assert_eq!(pods().len(), 1);

    systemctl("stop", "pf-sock").success();
    Trace::assert_none();
    let third = ask();
    assert_ne!(second, third, "a connection starts it again");
}
