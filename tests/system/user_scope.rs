//! `skim --user`: pods of a user without privileges.

mod images;
mod refusals;

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::command::run;
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::journal;
use crate::support::user::User;

/// The user's name in most tests, and number.
const NAME: &str = "someone";
const UID: u32 = 4321;

fn user(host: &Host) -> User {
    User::new(host, NAME, UID, NAME)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn shell(host: &Host, name: &str, script: &str) -> String {
    let image = Image::busybox(host, name).exec(&["/bin/sh", "-c", script]);
    text(&image.build())
}

fn sleeper(host: &Host, name: &str) -> String {
    text(
        &Image::busybox(host, name)
            .exec(&["/bin/sleep", "1000000"])
            .build(),
    )
}

/// The PID of an app's main process.
#[track_caller]
fn main_pid(user: &User, uuid: &str, app: &str) -> String {
    let unit = service(uuid, app);
    let pid = user.systemctl(&["show", "--value", "--property=MainPID", &unit]);
    pid.line()
}

fn service(uuid: &str, app: &str) -> String {
    format!("skim-{}-{app}.service", uuid.replace('-', ""))
}

#[test]
fn a_pod_of_a_user_runs_as_the_user() {
    let host = Host::new();
    let user = user(&host);
    let script = "id -u; id -g; echo $HOME $USER; echo wrong >&2; cat /proc/self/cgroup; exit 7";
    let image = shell(&host, "who", script);
    for _ in 0..5 {
        let outcome = user.skim(&["run", "--rm", &image]);
        assert_eq!(outcome.code, Some(7), "{outcome:?}");
        let lines: Vec<_> = outcome.stdout.lines().collect();
        let home = text(user.home());
        let own = format!("{home} {NAME}");
        assert_eq!(lines[..4], ["4321", "4321", &own, "wrong"], "{outcome:?}");
        let in_pod = |line: &&&str| line.contains("user@4321.service/skim.slice/skim-");
        let group = lines.iter().find(|line| line.starts_with("0::"));
        assert!(group.as_ref().is_some_and(in_pod), "{outcome:?}");
        assert!(
            outcome
                .stderr
                .contains("app who failed: exited with code 7"),
            "{outcome:?}"
        );
        assert_eq!(user.traces(), Vec::<String>::new());
    }
    // Nothing of it is root's, and nothing can be seen by others.
    let strange = format!("find {} ! -uid {UID}", text(&user.state()));
    assert_eq!(run("sh", ["-c", &strange]).success().stdout, "");
    let mode = fs::metadata(user.state())
        .expect("the store is there")
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn every_line_is_printed_in_order_and_is_in_the_journal() {
    let host = Host::new();
    let user = user(&host);
    let image = shell(
        &host,
        "talker",
        "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; printf 'the end'",
    );
    let other = shell(&host, "short", "echo hello; echo again >/dev/stdout");
    let outcome = user.skim(&["run", &image, &other]).success();
    let said: Vec<_> = outcome
        .stdout
        .lines()
        .filter(|line| line.starts_with("talker | "))
        .collect();
    assert_eq!(said.len(), 3001, "{}", outcome.stderr);
    for (number, line) in said[..3000].iter().enumerate() {
        assert_eq!(*line, format!("talker | line {number}"));
    }
    assert_eq!(said[3000], "talker | the end");
    for line in ["short  | hello", "short  | again"] {
        assert!(
            outcome.stdout.lines().any(|said| said == line),
            "{line}: {outcome:?}"
        );
    }
    run("journalctl", ["--sync"]).success();
    let uuid = user.skim(&["list", "--quiet"]).line();
    let found = run(
        "journalctl",
        [
            "--output=cat",
            &format!("SKIM_POD_UUID={uuid}"),
            "SKIM_APP=short",
            // From systemd 257 on, what the manager says of the app has the fields, too.
            "SYSLOG_IDENTIFIER=short",
        ],
    );
    assert_eq!(found.success().stdout, "hello\nagain\n");
    let logs = user.skim(&["logs", "-n", "1", &uuid, "talker"]).success();
    assert!(
        logs.stdout.contains("talker[") && logs.stdout.contains("the end"),
        "{logs:?}"
    );
    user.skim(&["gc"]).success();
    assert_eq!(user.traces(), Vec::<String>::new());
}

#[test]
fn a_detached_pod_is_listed_entered_and_stopped() {
    let host = Host::new();
    let user = user(&host);
    let image = sleeper(&host, "daemon");
    let uuid = user.skim(&["run", "--detach", &image]).line();
    assert_eq!(user.skim(&["list", "--quiet"]).line(), uuid);
    let status = user.skim(&["status", &uuid]).success().stdout;
    assert!(status.contains("running"), "{status}");
    let entered = user.skim(&["enter", &uuid, "--", "id", "-u"]).line();
    assert_eq!(entered, "4321");
    // The system's own manager knows nothing of it, and nor does root's skim.
    let listed = run("skim", ["list", "--quiet"]).success().stdout;
    assert_eq!(listed, "");
    user.skim(&["cat-manifest", &uuid]).success();
    user.skim(&["stop", &uuid]).success();
    assert_eq!(user.units(), Vec::<String>::new());
    assert_eq!(user.skim(&["list", "--quiet"]).line(), uuid);
    user.skim(&["rm", &uuid]).success();
    assert_eq!(user.traces(), Vec::<String>::new());
}

#[test]
fn a_stubborn_app_is_killed_by_force() {
    let host = Host::new();
    let user = user(&host);
    let image = shell(
        &host,
        "stubborn",
        "trap '' TERM; while :; do sleep 1000; done",
    );
    let uuid = user.skim(&["run", "--detach", &image]).line();
    user.skim(&["stop", "--force", &uuid]).success();
    assert_eq!(user.units(), Vec::<String>::new());
    user.skim(&["gc"]).success();
    assert_eq!(user.traces(), Vec::<String>::new());
}

#[test]
fn a_killed_holder_takes_the_pod_down() {
    let host = Host::new();
    let user = user(&host);
    let image = sleeper(&host, "orphan");
    let uuid = user.skim(&["run", "--detach", &image]).line();
    let pid = main_pid(&user, &uuid, "orphan");
    let state: serde_json::Value = serde_json::from_str(
        &user
            .skim(&["status", "--format=json", &uuid])
            .success()
            .stdout,
    )
    .expect("it is JSON");
    let holder = state.pointer("/pid").or_else(|| state.pointer("/0/pid"));
    let holder = holder
        .and_then(serde_json::Value::as_u64)
        .expect("it has a holder");
    run("kill", ["-KILL", &holder.to_string()]).success();
    journal::until("the app has ended", || {
        !Path::new("/proc").join(&pid).exists()
    });
    journal::until("the units are gone", || user.units().is_empty());
    user.skim(&["gc"]).success();
    assert_eq!(user.traces(), Vec::<String>::new());
}

#[test]
fn what_is_prepared_runs_later() {
    let host = Host::new();
    let user = user(&host);
    let image = shell(&host, "later", "echo ran");
    for flags in [&[][..], &["--readonly-rootfs=false"]] {
        let mut args = vec!["prepare", &image];
        args.extend(flags);
        let uuid = user.skim(&args).line();
        let outcome = user.skim(&["run-prepared", "--rm", &uuid]).success();
        assert_eq!(outcome.stdout, "ran\n");
    }
    let uuid = user.skim(&["prepare", &image]).line();
    let outcome = user
        .skim(&["run-prepared", "--interactive", "--rm", &uuid])
        .success();
    assert_eq!(outcome.stdout, "ran\n");
    let outcome = user
        .skim(&["run", "--interactive", "--rm", &image])
        .success();
    assert_eq!(outcome.stdout, "ran\n");
    assert_eq!(user.traces(), Vec::<String>::new());
}

#[test]
fn volumes_are_told_by_their_path() {
    let host = Host::new();
    let user = user(&host);
    let image = shell(
        &host,
        "keeper",
        "echo kept >$SKIM_VOLUME_MINE/file && echo x >$SKIM_VOLUME_SCRATCH/file && cat $SKIM_VOLUME_MINE/file",
    );
    let mine = user.home().join("mine");
    user.run("mkdir", &[&text(&mine)]).success();
    let volume = format!("mine,kind=host,source={}", text(&mine));
    let args = [
        "run",
        "--rm",
        &image,
        "--volume",
        &volume,
        "--mount",
        "volume=mine,target=/mine",
        "--volume",
        "scratch,kind=empty",
        "--mount",
        "volume=scratch,target=/scratch",
    ];
    let outcome = user.skim(&args).success();
    assert_eq!(outcome.stdout, "kept\n");
    assert_eq!(
        fs::read_to_string(mine.join("file")).expect("it is there"),
        "kept\n"
    );
    assert_eq!(user.traces(), Vec::<String>::new());
}

#[test]
fn the_dry_run_names_the_user_s_directory() {
    let host = Host::new();
    let user = user(&host);
    let image = sleeper(&host, "dry");
    user.skim(&["fetch", &image]).success();
    let units = user.skim(&["run", "--dry-run", &image]).success().stdout;
    assert!(
        units.contains("# /run/user/4321/systemd/user/skim-"),
        "{units}"
    );
    let config = user.skim(&["config"]).success().stdout;
    let local = text(&PathBuf::from(user.home()).join(".config/skim"));
    assert!(
        config.contains(&local) && config.contains("/etc/skim"),
        "{config}"
    );
    assert_eq!(user.traces(), Vec::<String>::new());
}

#[test]
fn the_first_connection_starts_the_app() {
    let host = Host::new();
    let user = user(&host);
    let answer = "import socket\nconnection, _ = socket.socket(fileno=3).accept()\n\
                  connection.sendall(b'hello')\nconnection.close()\n";
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let port = free.expect("a port is free").port();
    let ports =
        json!([{ "name": "web", "protocol": "tcp", "port": port, "socketActivated": true }]);
    let image = Image::busybox(&host, "lazy")
        .file("answer.py", answer, 0o644)
        .exec(&["/bin/sh", "-c", "exec python3 $SKIM_ROOTFS/answer.py"])
        .app("ports", ports);
    let uuid = user
        .skim(&["run", "--detach", &text(&image.build())])
        .line();
    for _ in 0..2 {
        assert_eq!(main_pid(&user, &uuid, "lazy"), "0");
        let mut said = String::new();
        let mut connection = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        connection.read_to_string(&mut said).expect("it answers");
        assert_eq!(said, "hello");
        journal::until("the app has ended", || {
            let unit = service(&uuid, "lazy");
            user.systemctl(&["is-active", &unit]).stdout == "inactive\n"
        });
    }
    user.skim(&["stop", &uuid]).success();
    TcpListener::bind(("127.0.0.1", port)).expect("nobody listens any more");
    user.skim(&["gc"]).success();
    assert_eq!(user.traces(), Vec::<String>::new());
}
