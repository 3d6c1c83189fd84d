//! Connections to a service while it is updated.

use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::web::Web;
use crate::support::command::run;
use crate::support::host::Host;
use crate::support::service::Port;

const ANSWER: &str = "import os, socket, time
time.sleep(0.5)
listening = socket.socket(fileno=3)
while True:
    connection, _ = listening.accept()
    connection.sendall(os.environ['WEB'].encode())
    connection.close()";

/// What a connection is answered, or why it is not.
fn ask(port: &Port) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(port.address())?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.is_empty() {
        true => Err(std::io::ErrorKind::UnexpectedEof.into()),
        false => Ok(answer),
    }
}

#[test]
fn every_connection_is_answered_during_an_update() {
    let host = Host::new();
    let port = Port::free();
    let answer = host.scratch().join("answer.py");
    fs::write(&answer, ANSWER).expect("it can be written");
    let script = format!("exec /usr/bin/python3 {}", answer.display());
    let name = "test-socket";
    let web = Web::new(&host, name, "", &format!("Socket={}\n", port.address()));
    web.put("1", &script);
    run("systemctl", ["start", &format!("{name}-web.socket")]).success();
    assert_eq!(ask(&port).expect("the first connection starts it"), "1");
    web.put("2", &script);
    let is_over = AtomicBool::new(false);
    let (answers, longest) = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let (mut answers, mut longest) = (Vec::new(), Duration::ZERO);
            while !is_over.load(Ordering::SeqCst) {
                let begin = Instant::now();
                answers.push(ask(&port));
                longest = longest.max(begin.elapsed());
            }
            (answers, longest)
        });
        let updated = web.update(&[]);
        is_over.store(true, Ordering::SeqCst);
        updated.success();
        client.join().expect("the client does not panic")
    });
    // A connection that the old one had taken may break off; none is refused.
    let failed: Vec<_> = answers.iter().filter(|answer| answer.is_err()).collect();
    assert!(failed.len() <= 1, "{failed:#?}");
    assert!(
        failed.iter().all(|answer| {
            let kind = answer.as_ref().map_err(std::io::Error::kind);
            kind != Err(std::io::ErrorKind::ConnectionRefused)
        }),
        "{failed:#?}"
    );
    let answers: Vec<_> = answers.iter().flatten().map(String::as_str).collect();
    assert!(
        answers.contains(&"1") && answers.ends_with(&["2"]),
        "{answers:?}"
    );
    println!("{} answers, the longest took {longest:?}", answers.len());
}
