//! `skim run --interactive`: the app has the caller's streams and terminal.

mod terminal;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::support::command::{Outcome, outcome, run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::journal;
use crate::support::pod::{Pod, gc};
use crate::support::systemd;
use crate::support::trace::Trace;

const NAME: &str = "tools";

/// What the apps below wait by, as a pattern that does not match itself.
const SLEEPER: &str = "[s]leep 1000000";

/// An image named so that runs a script.
fn shell(host: &Host, name: &str, script: &str) -> String {
    let image = Image::busybox(host, name)
        .exec(&["/bin/sh", "-c", script])
        .build();
    image.to_str().expect("the path is text").to_owned()
}

#[track_caller]
fn interactive(image: &str) -> Outcome {
    skim(["run", "--interactive", image])
}

/// The one pod that there is.
#[track_caller]
fn pod() -> Pod {
    Pod {
        uuid: skim(["list", "--quiet"]).line(),
    }
}

#[track_caller]
fn assert_gone() {
    gc();
    Trace::assert_none();
}

#[test]
fn a_pipe_goes_through() {
    let host = Host::new();
    let image = shell(&host, NAME, "cat; echo done >&2");
    let pipe = format!("printf 'one\\ntwo' | skim run --interactive {image}");
    let outcome = run("sh", ["-c", &pipe]).success();
    assert_eq!(outcome.stdout, "one\ntwo");
    assert_eq!(outcome.stderr, "done\n");
    assert_gone();
}

#[test]
fn exit_codes_are_the_app_s() {
    let host = Host::new();
    let killed = "skim: error: app killed failed: killed by SIGKILL\n";
    for (name, end, code, says) in [
        ("well", "exit 0", 0, ""),
        ("failed", "exit 3", 3, ""),
        ("killed", "kill -KILL $$", 137, killed),
        ("interrupted", "kill -INT $$", 130, ""),
    ] {
        let outcome = interactive(&shell(&host, name, end));
        assert_eq!(outcome.code, Some(code), "{end}: {outcome:#?}");
        assert_eq!(outcome.stderr, says, "{end}");
        let status = skim(["status", &pod().uuid]).success().stdout;
        assert!(status.contains("exited"), "{status}");
        assert!(status.contains(&code.to_string()), "{status}");
        assert_gone();
    }
}

/// What an app was given: its files by `/bin/dump`, without what differs from run to run.
#[track_caller]
fn given(directory: &Path) -> (String, BTreeSet<String>, String, String) {
    let read = |name: &str| {
        let path = directory.join(name);
        let text = fs::read_to_string(&path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // The pod's UUID.
        let mut parts: Vec<_> = text.split('/').map(str::to_owned).collect();
        for part in &mut parts {
            if part.len() == 36 && part.matches('-').count() == 4 {
                *part = "UUID".to_owned();
            }
        }
        parts.join("/")
    };
    // The last two are of the cgroup that a service of its own has, since systemd 254.
    let of_systemd = [
        "LANG=",
        "INVOCATION_ID=",
        "JOURNAL_STREAM=",
        "SYSTEMD_EXEC_PID=",
        "MEMORY_PRESSURE_WATCH=",
        "MEMORY_PRESSURE_WRITE=",
    ];
    let environ = read("environ");
    let environ = environ.split('\0').map(str::to_owned);
    let environ = environ.filter(|own| !of_systemd.iter().any(|name| own.starts_with(name)));
    (read("argv"), environ.collect(), read("cwd"), read("ids"))
}

#[test]
fn it_is_given_what_its_service_would_be_given() {
    let host = Host::new();
    let image = |name: &str| {
        let directory = host.directory(name);
        run("chown", ["1234:1234".as_ref(), directory.as_os_str()]).success();
        let image = Image::busybox(&host, &format!("{name}-image"))
            .exec(&["/bin/dump", "a b", "$HOME", "%n", ""])
            .user("1234", "1234")
            .app("supplementaryGIDs", json!([5, 7]))
            .app("workingDirectory", json!("/etc"))
            .app(
                "environment",
                json!([
                    { "name": "DUMP_DIR", "value": directory },
                    { "name": "TERM", "value": "image" },
                    { "name": "ODD", "value": "a \"b\" $c %d" },
                ]),
            )
            .build();
        (directory, image.into_os_string())
    };
    let mut given_to = Vec::new();
    for (flag, name) in [("--rm", "service"), ("--interactive", "interactive")] {
        let (directory, image) = image(name);
        let args = ["run".into(), flag.into(), image, "--name=x".into()];
        let outcome = skim(args.iter().collect::<Vec<&std::ffi::OsString>>()).success();
        assert_eq!(outcome.stderr, "", "{outcome:#?}");
        let mut given = given(&directory);
        // The one that differs on purpose.
        let is_own = |variable: &String| !variable.starts_with("DUMP_DIR=");
        given.1 = given.1.into_iter().filter(is_own).collect();
        given_to.push(given);
    }
    assert_eq!(given_to[0], given_to[1]);
    let leaked =
        |variable: &String| variable.starts_with("SKIM_LOCK") || variable.starts_with("RUST_");
    assert!(!given_to[1].1.iter().any(leaked), "{given_to:#?}");
    assert_gone();
}

/// `skim run --interactive` that waits.
#[track_caller]
fn start(image: &str) -> (Child, Pod) {
    let child = Command::new("timeout")
        .args(["--foreground", "--kill-after=5", "60", "skim"])
        .args(["run", "--interactive", image])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cannot run skim");
    journal::until("the app runs", || {
        systemd::skim_units()
            .iter()
            .any(|unit| unit.contains(".scope"))
            && run("pgrep", ["--full", SLEEPER]).code == Some(0)
    });
    (child, pod())
}

#[test]
fn skim_stop_ends_it() {
    let host = Host::new();
    let ready = host.scratch().join("ready");
    let ready = ready.to_str().expect("the path is text");
    for (name, script, code) in [
        ("plain", format!(": >{ready}; exec sleep 1000000"), 143),
        // As shells that talk to somebody do.
        (
            "deaf",
            format!("trap '' TERM; : >{ready}; sleep 1000000"),
            129,
        ),
    ] {
        let (child, pod) = start(&shell(&host, name, &script));
        // The shell's command line has what `start` looks for before the trap is set.
        journal::until("the shell has come to its sleep", || {
            fs::remove_file(ready).is_ok()
        });
        pod.stop();
        let outcome = outcome(child);
        assert_eq!(outcome.code, Some(code), "{outcome:#?}");
        assert_eq!(outcome.stderr, "", "{outcome:#?}");
        assert_gone();
    }
}

#[test]
fn a_signal_to_the_holder_stops_the_pod() {
    let host = Host::new();
    for signal in ["TERM", "HUP"] {
        let name = signal.to_lowercase();
        let (child, pod) = start(&shell(&host, &name, "exec sleep 1000000"));
        let pid = fs::read_to_string(format!("/var/lib/skim/pods/run/{}/pid", pod.uuid));
        let pid = pid.expect("the holder has written its PID");
        run("kill", [format!("-{signal}"), pid.trim_end().to_owned()]).success();
        let outcome = outcome(child);
        assert_eq!(outcome.code, Some(143), "{outcome:#?}");
        assert_gone();
    }
}

#[test]
fn a_holder_that_is_killed_takes_the_app_with_it() {
    let host = Host::new();
    let (child, pod) = start(&shell(&host, NAME, "exec sleep 1000000"));
    let status = skim(["status", &pod.uuid]).success().stdout;
    let holder = status.lines().find_map(|line| line.strip_prefix("pid="));
    run(
        "kill",
        ["-KILL", holder.expect("a running pod has a holder")],
    )
    .success();
    outcome(child);
    journal::until("the app has ended", || {
        run("pgrep", ["--full", SLEEPER]).code == Some(1)
    });
    pod.wait_until_gone();
    assert_gone();
}

#[test]
fn what_the_app_leaves_behind_is_ended() {
    let host = Host::new();
    let image = shell(&host, NAME, "sleep 1000000 & echo left; exit 0");
    let outcome = interactive(&image).success();
    assert_eq!(outcome.stdout, "left\n");
    gc();
    assert_eq!(run("pgrep", ["--full", SLEEPER]).code, Some(1));
    Trace::assert_none();
}

#[test]
fn handlers_run_around_it_as_root() {
    let host = Host::new();
    let handler = |name: &str| json!({ "name": name, "exec": ["/bin/sh", "-c", format!("echo {name} $(id -u); cat")] });
    let image = Image::busybox(&host, NAME)
        .exec(&["/bin/sh", "-c", "echo app $(id -u); cat"])
        .user("1234", "1234")
        .app(
            "eventHandlers",
            json!([handler("pre-start"), handler("post-stop")]),
        )
        .build();
    let pipe = format!("echo input | skim run --interactive {}", image.display());
    let outcome = run("sh", ["-c", &pipe]).success();
    assert_eq!(
        outcome.stdout,
        "pre-start 0\napp 1234\ninput\npost-stop 0\n"
    );
    assert_gone();
    let failing = json!([{ "name": "pre-start", "exec": ["/bin/sh", "-c", "exit 9"] }]);
    let image = Image::busybox(&host, "failing")
        .exec(&["/bin/echo", "never"])
        .app("eventHandlers", failing)
        .build();
    let outcome = interactive(image.to_str().expect("the path is text"));
    assert_eq!(
        (outcome.code, &*outcome.stdout),
        (Some(254), ""),
        "{outcome:#?}"
    );
    let says = "skim: error: app failing failed: its pre-start handler: exited with code 9\n";
    assert_eq!(outcome.stderr, says);
    assert_gone();
}

#[test]
fn handlers_are_confined_as_the_app_is() {
    let host = Host::new();
    let look = "busybox grep -E '^(CapBnd|NoNewPrivs|Uid)' /proc/self/status; pwd; \
                busybox cat /proc/self/oom_score_adj";
    let handler = |name: &str| json!({ "name": name, "exec": ["/bin/sh", "-c", look] });
    let image = Image::busybox(&host, NAME)
        .exec(&["/bin/sh", "-c", look])
        .user("1234", "1234")
        .file("srv/file", "", 0o644)
        .app("workingDirectory", "/srv".into())
        .app(
            "eventHandlers",
            json!([handler("pre-start"), handler("post-stop")]),
        )
        .build();
    let image = image.to_str().expect("the path is text");
    let flags = [
        "--caps-retain=CAP_CHOWN",
        "--no-new-privileges=true",
        "--oom-score-adj=321",
    ];
    let outcome = skim(["run", "--interactive", image].into_iter().chain(flags)).success();
    let programs: Vec<_> = outcome.stdout.split_inclusive("321\n").collect();
    let [before, app, after] = programs.as_slice() else {
        panic!("{outcome:#?}");
    };
    assert_eq!(before, after);
    let root = app.replace("1234", "0");
    assert_eq!(**before, root);
    for says in ["CapBnd:\t0000000000000001\n", "NoNewPrivs:\t1\n", "/srv\n"] {
        assert!(before.contains(says), "{says}: {before}");
    }
    assert_gone();
}

#[test]
fn what_the_image_asks_of_a_service_is_not_left_out_silently() {
    let host = Host::new();
    let dropin = "[Service]\nType=notify\nLimitNOFILE=77\nNice=3\n";
    let image = Image::busybox(&host, NAME)
        .annotation("skim.dropin", dropin)
        .exec(&["/bin/sh", "-c", "echo here"])
        .build();
    let outcome = interactive(image.to_str().expect("the path is text")).success();
    assert_eq!(outcome.stdout, "here\n");
    let says = "app tools: left out 2 of the settings in the image's skim.dropin";
    assert!(outcome.stderr.contains(says), "{outcome:#?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:#?}");
    assert_gone();
}

#[test]
fn what_cannot_be_executed_is_explained() {
    let host = Host::new();
    let image = Image::empty(&host, NAME)
        .file("bin/web", "#!/no/such/interpreter\n", 0o755)
        .exec(&["/bin/web"])
        .build();
    let outcome = interactive(image.to_str().expect("the path is text"));
    assert_eq!(outcome.code, Some(203), "{outcome:#?}");
    let says = "its interpreter /no/such/interpreter is missing in the image (203/EXEC, ENOENT)";
    assert!(outcome.stderr.contains(says), "{outcome:#?}");
    assert_gone();
    // A shell would take it for a script.
    let image = Image::busybox(&host, "text")
        .file("bin/text", "echo run\n", 0o755)
        .exec(&["/bin/text"])
        .build();
    let outcome = interactive(image.to_str().expect("the path is text"));
    assert_eq!(outcome.code, Some(203), "{outcome:#?}");
    assert_eq!(outcome.stdout, "", "{outcome:#?}");
    assert_gone();
}

#[test]
fn what_takes_a_service_is_refused() {
    let host = Host::new();
    let image = shell(&host, NAME, "exit 0");
    let other = image.clone();
    for (args, says) in [
        (
            vec!["--interactive", &image, "---", &other, "--name=b"],
            "one app",
        ),
        (
            vec!["--interactive", &image, "--property=Nice=1"],
            "--property=Nice takes a service",
        ),
        (
            vec!["--interactive", &image, "--restart=always"],
            "--restart takes a service",
        ),
        (
            vec!["--interactive", &image, "--notify"],
            "--notify takes a service",
        ),
        (vec!["--interactive", "--detach", &image], "--detach"),
    ] {
        let outcome = skim(["run"].into_iter().chain(args));
        assert_eq!(outcome.code, Some(254), "{outcome:#?}");
        assert!(outcome.stderr.contains(says), "{outcome:#?}");
        Trace::assert_none();
    }
}

#[test]
fn a_pod_that_was_prepared_can_be_run_so() {
    let host = Host::new();
    let image = shell(&host, NAME, "cat");
    let uuid = skim(["prepare", &image]).line();
    let pipe = format!("echo hi | skim run-prepared --interactive {uuid}");
    assert_eq!(run("sh", ["-c", &pipe]).success().stdout, "hi\n");
    assert_gone();
}
