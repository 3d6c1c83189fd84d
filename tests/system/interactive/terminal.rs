//! The caller's terminal, and the job that the pod is to the caller's shell.

use std::fs;

use serde_json::json;

use super::{NAME, assert_gone, shell};
use crate::support::command::{Outcome, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::terminal::Step::{self, Expect, Send};
use crate::support::terminal::{END_OF_FILE, INTERRUPT, SUSPEND, on_terminal};
use crate::support::trace::Trace;

#[test]
fn a_terminal_is_the_app_s() {
    let host = Host::new();
    let script = "test -t 0 && test -t 1 && test -t 2 && busybox stty size; echo $TERM";
    let image = shell(&host, NAME, script);
    let outcome = on_terminal(&[], ["skim", "run", "--interactive", "--rm", &image]).success();
    // After what the import has shown.
    assert!(
        outcome.stdout.ends_with("33 77\r\nvt100\r\n"),
        "{outcome:#?}"
    );
    Trace::assert_none();
}

#[test]
fn ctrl_c_is_for_the_app() {
    let host = Host::new();
    let waits = "echo up; while :; do sleep 1000000 & wait; done";
    for (name, script, code) in [
        (
            "trap",
            format!("trap 'echo caught; exit 5' INT; {waits}"),
            5,
        ),
        ("none", waits.to_owned(), 130),
    ] {
        let image = shell(&host, name, &script);
        let steps = [Expect("up"), INTERRUPT];
        let outcome = on_terminal(&steps, ["skim", "run", "--interactive", &image]);
        assert_eq!(outcome.code, Some(code), "{outcome:#?}");
        assert_eq!(outcome.stdout.contains("caught"), code == 5, "{outcome:#?}");
        assert_gone();
    }
}

/// A shell of the caller's, in which skim is a job.
#[track_caller]
fn in_a_shell(host: &Host, steps: &[Step<'_>]) -> Outcome {
    let rc = host.scratch().join("rc");
    fs::write(&rc, "PS1='ready> '\n").expect("cannot write");
    let rc = rc.to_str().expect("the path is text");
    on_terminal(steps, ["bash", "--noprofile", "--rcfile", rc, "-i"])
}

/// Again and again, as fast as a machine types: neither stop nor `fg` may come too early or late.
#[test]
fn ctrl_z_stops_the_job_and_fg_goes_on() {
    let host = Host::new();
    // All by itself: what a child of the app's has begun to read when the app stops, the kernel
    // may give to the child.
    let script = "echo app is up; while read line; do echo $line; done; echo app ends";
    let image = shell(&host, NAME, script);
    let run = format!("skim run --interactive {image}\n");
    let mut steps = vec![Expect("ready> "), Send(&run), Expect("app is up")];
    for _ in 0..50 {
        steps.extend([
            SUSPEND,
            Expect("Stopped"),
            Expect("ready> "),
            Send("fg\n"),
            // The shell says what goes on.
            Expect("skim run"),
            Send("hello\n"),
            // What the terminal echoes, and what the app says.
            Expect("hello"),
            Expect("hello"),
        ]);
    }
    steps.extend([
        END_OF_FILE,
        Expect("app ends"),
        Expect("ready> "),
        Send("echo code=$?; exit\n"),
        Expect("code=0"),
    ]);
    let outcome = in_a_shell(&host, &steps);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_gone();
}

#[test]
fn ctrl_z_is_for_the_app() {
    let host = Host::new();
    let script =
        "trap 'echo not me' TSTP; echo app is up; read line || read line; echo app read $line";
    let image = shell(&host, NAME, script);
    let run = format!("skim run --interactive {image}\n");
    let outcome = in_a_shell(
        &host,
        &[
            Expect("ready> "),
            Send(&run),
            Expect("app is up"),
            SUSPEND,
            Expect("not me"),
            Send("hello\n"),
            Expect("app read hello"),
            Expect("ready> "),
            Send("echo code=$?; exit\n"),
            Expect("code=0"),
        ],
    );
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(!outcome.stdout.contains("Stopped"), "{outcome:#?}");
    assert_gone();
}

/// Where the terminal stops whoever writes to it from the background, so it does skim.
#[test]
fn what_skim_says_waits_for_the_foreground() {
    let host = Host::new();
    let image = shell(&host, NAME, "kill -KILL $$");
    skim(["fetch", &image]).success();
    let run = format!("stty tostop; skim run --quiet --interactive {image} &\n");
    let outcome = in_a_shell(
        &host,
        &[
            Expect("ready> "),
            Send(&run),
            Expect("ready> "),
            Send("until jobs | grep Stopped; do sleep 0.1; done\n"),
            // Not what was typed.
            Expect("Stopped   "),
            Expect("ready> "),
            Send("fg\n"),
            Expect("killed by SIGKILL"),
            Expect("ready> "),
            Send("exit\n"),
        ],
    );
    assert!(outcome.code.is_some(), "{outcome:#?}");
    assert_gone();
}

#[test]
fn ctrl_z_stops_a_handler() {
    let host = Host::new();
    let image = Image::busybox(&host, NAME).exec(&["/bin/echo", "app is up"]);
    let handler = json!([
        "/bin/sh",
        "-c",
        "echo handler is up; kill -TSTP 0; echo handler goes on"
    ]);
    let handlers = json!([{ "name": "pre-start", "exec": handler }]);
    let image = image.app("eventHandlers", handlers).build();
    let run = format!("skim run --interactive {}\n", image.display());
    let outcome = in_a_shell(
        &host,
        &[
            Expect("ready> "),
            Send(&run),
            Expect("handler is up"),
            Expect("Stopped"),
            Expect("ready> "),
            Send("fg\n"),
            Expect("handler goes on"),
            Expect("app is up"),
            Expect("ready> "),
            Send("exit\n"),
        ],
    );
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_gone();
}

/// A shell has process groups of its own, and gives them the terminal.
#[test]
fn a_shell_as_the_app_hands_the_terminal_back() {
    let host = Host::new();
    let image = Image::busybox(&host, NAME).exec(&["/bin/sh", "-i"]);
    let image = image.app(
        "environment",
        json!([{ "name": "PS1", "value": "inner> " }]),
    );
    let run = format!("skim run --interactive {}\n", image.build().display());
    for (last, code) in [("exit 4\n", "code=4"), ("kill -KILL $$\n", "code=137")] {
        let outcome = in_a_shell(
            &host,
            &[
                Expect("ready> "),
                Send(&run),
                Expect("inner> "),
                // Once it is shown, what Ctrl-C ends has the terminal.
                Send("sh -c 'echo as\\leep; exec sleep 1000000'\n"),
                Expect("asleep"),
                INTERRUPT,
                Expect("inner> "),
                Send(last),
                Expect("ready> "),
                Send("echo code=$?\n"),
                Expect(code),
                Expect("ready> "),
                // The terminal is the caller's again, and echoes.
                Send("echo be''gun; cat\n"),
                Expect("begun"),
                Send("through\n"),
                Expect("through"),
                Expect("through"),
                END_OF_FILE,
                Expect("ready> "),
                Send("exit\n"),
            ],
        );
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        assert_gone();
    }
}

#[test]
fn a_shell_that_suspends_itself_stops_the_job() {
    let host = Host::new();
    let script = "echo app is up; kill -STOP $$; echo app goes on";
    let image = shell(&host, NAME, script);
    let run = format!("skim run --interactive {image}\n");
    let outcome = in_a_shell(
        &host,
        &[
            Expect("ready> "),
            Send(&run),
            Expect("app is up"),
            Expect("Stopped"),
            Expect("ready> "),
            Send("fg\n"),
            Expect("app goes on"),
            Expect("ready> "),
            Send("exit\n"),
        ],
    );
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_gone();
}
