//! What a user is told of an app that has failed.

use std::fs;
use std::path::Path;

use crate::support::command::{Outcome, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::gc;
use crate::support::trace::Trace;

const NAME: &str = "web";

/// Runs an image, in the foreground and detached, until it has failed with this code.
#[track_caller]
fn run_both_ways(image: &Path, flags: &[&str], code: i32) -> [Outcome; 2] {
    [&["run"][..], &["run", "--detach"]].map(|command| {
        let mut args: Vec<_> = command.iter().map(Into::into).collect();
        args.push(image.as_os_str().to_owned());
        args.extend(flags.iter().map(Into::into));
        let outcome = skim(args);
        assert_eq!(outcome.code, Some(code), "{outcome:#?}");
        gc();
        outcome
    })
}

/// The line that names the cause, and the one that says how to see more, stand where they belong.
#[track_caller]
fn assert_says(outcomes: &[Outcome], cause: &str) {
    for outcome in outcomes {
        let said = &outcome.stderr;
        let lines: Vec<_> = said.lines().collect();
        let headline = format!("skim: error: app {NAME} failed: ");
        let headlines: Vec<_> = lines
            .iter()
            .filter(|line| line.starts_with(&headline))
            .collect();
        assert_eq!(headlines.len(), 1, "{outcome:#?}");
        assert!(
            headlines[0].contains(cause),
            "expected {cause:?}: {outcome:#?}"
        );
        assert!(lines[0].starts_with(&headline), "{outcome:#?}");
        let last = lines.last().expect("there are lines");
        assert!(last.starts_with("skim: see: skim logs "), "{outcome:#?}");
        assert!(last.ends_with(&format!(" {NAME}")), "{outcome:#?}");
        let between = &lines[1..lines.len() - 1];
        assert!(
            between.iter().all(|line| line.starts_with("    ")),
            "{outcome:#?}"
        );
        assert!(between.len() <= 10, "{outcome:#?}");
    }
}

#[test]
fn a_script_s_missing_interpreter_is_named() {
    let host = Host::new();
    let image = |user: &str| {
        Image::empty(&host, &format!("script-{user}"))
            .file("bin/web", "#!/no/such/interpreter -x\n", 0o755)
            .exec(&["/bin/web"])
            .user(user, user)
            .build()
    };
    let [foreground, detached] = run_both_ways(&image("0"), &["--name", NAME], 203);
    // stage1-skim becomes the program, and not systemd. Until then the app is up.
    let other = skim([
        "run".as_ref(),
        image("1000").as_os_str(),
        "--name".as_ref(),
        NAME.as_ref(),
    ]);
    assert_eq!(other.code, Some(203), "{other:#?}");
    let outcomes = [foreground, detached, other];
    assert_says(&outcomes, "rootfs/bin/web: ");
    let interpreter = "its interpreter /no/such/interpreter is missing in the image";
    assert_says(&outcomes, &format!("{interpreter} (203/EXEC, ENOENT)"));
    gc();
    Trace::assert_none();
}

/// A little-endian program for a 64-bit x86, with one segment: its interpreter.
fn program(machine: u8, interpreter: &str) -> Vec<u8> {
    let mut elf = vec![0; 120];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (elf[16], elf[18], elf[20]) = (2, machine, 1);
    (elf[32], elf[52], elf[54], elf[56]) = (64, 64, 56, 1);
    let length = u8::try_from(interpreter.len() + 1).expect("the path is short");
    (elf[64], elf[68], elf[72], elf[96], elf[104]) = (3, 4, 120, length, length);
    elf.extend_from_slice(interpreter.as_bytes());
    elf.push(0);
    elf
}

#[test]
fn a_program_s_missing_interpreter_is_named() {
    let host = Host::new();
    let interpreter = "/lib64/ld-no-such.so.2";
    let image = Image::empty(&host, NAME)
        .file("bin/web", program(62, interpreter), 0o755)
        .exec(&["/bin/web"])
        .build();
    let outcomes = run_both_ways(&image, &[], 203);
    assert_says(
        &outcomes,
        "its interpreter /lib64/ld-no-such.so.2 is missing in the image (203/EXEC, ENOENT)",
    );
    Trace::assert_none();
}

#[test]
fn what_is_no_program_of_this_host_is_told() {
    let host = Host::new();
    for (name, content, says) in [
        (
            "foreign",
            program(183, "/lib/ld-linux-aarch64.so.1"),
            "it is for aarch64, and this host is x86_64 (203/EXEC, ENOEXEC)",
        ),
        (
            "garbage",
            b"\x7fELF\x02\x01\x01".to_vec(),
            // There are several errors for that, and systemd 257 does not say which it was.
            "it is a damaged ELF file (203/EXEC",
        ),
        (
            "text",
            b"echo hello\n".to_vec(),
            "it is neither a program nor a script with a #! line (203/EXEC, ENOEXEC)",
        ),
    ] {
        let image = Image::empty(&host, name)
            .file("bin/web", content, 0o755)
            .exec(&["/bin/web"])
            .build();
        let outcomes = run_both_ways(&image, &["--name", NAME], 203);
        assert_says(&outcomes, says);
    }
    Trace::assert_none();
}

#[test]
fn a_missing_library_is_named_and_who_needs_it() {
    let host = Host::new();
    let image = Image::tree(&host, NAME, "musl").exec(&["/bin/greet"]);
    fs::remove_file(image.path("usr/lib/libgreeting.so.1")).expect("cannot remove the library");
    let image = image.build();
    let [foreground, _] = run_both_ways(&image, &[], 127);
    let foreground = [foreground];
    assert_says(
        &foreground,
        "the library libgreeting.so.1 is missing, which /",
    );
    assert_says(&foreground, "rootfs/bin/greet needs (exit code 127)");
    Trace::assert_none();
}

#[test]
fn an_app_that_leaves_before_it_is_ready_is_told() {
    let host = Host::new();
    let image = Image::busybox(&host, NAME)
        .exec(&["/bin/true"])
        .annotation("skim.dropin", "[Service]\nType=notify\n")
        .build();
    let outcomes = run_both_ways(&image, &[], 254);
    assert_says(
        &outcomes,
        "exited with code 0 before it said that it was ready (Type=notify)",
    );
    Trace::assert_none();
}

#[test]
fn an_app_that_is_not_up_in_time_is_told_its_time() {
    let host = Host::new();
    let image = Image::busybox(&host, NAME)
        .exec(&["/bin/sleep", "1000"])
        .annotation("skim.dropin", "[Service]\nType=notify\n")
        .build();
    let outcomes = run_both_ways(&image, &["--property", "TimeoutStartSec=300ms"], 143);
    assert_says(&outcomes, "it was not up within 300ms (TimeoutStartSec=)");
    Trace::assert_none();
}

#[test]
fn signals_have_names() {
    let host = Host::new();
    for (signal, code) in [("KILL", 137), ("SEGV", 139), ("SYS", 159)] {
        let image = Image::busybox(&host, &format!("signal-{signal}").to_lowercase())
            .exec(&["/bin/sh", "-c", &format!("kill -{signal} $$")])
            .annotation("skim.dropin", "[Service]\nLimitCORE=0\n")
            .build();
        // Whoever is detached may have it up before it kills itself.
        let image = image.to_str().expect("the path is text");
        let outcome = skim(["run", image, "--name", NAME]);
        assert_eq!(outcome.code, Some(code), "{outcome:#?}");
        gc();
        assert_says(&[outcome], &format!("killed by SIG{signal}"));
    }
    Trace::assert_none();
}

#[test]
fn a_handler_that_fails_is_told_apart() {
    let host = Host::new();
    let handler = |name: &str| serde_json::json!([{ "name": name, "exec": ["/bin/sh", "-c", "echo oops >&2; exit 9"] }]);
    for event in ["pre-start", "post-stop"] {
        let image = Image::busybox(&host, event)
            .exec(&["/bin/true"])
            .app("eventHandlers", handler(event))
            .build();
        // Whoever is detached has the app up before its last handler fails.
        let args = ["run".as_ref(), "--name".as_ref(), NAME.as_ref()];
        let args = [args[0], image.as_os_str(), args[1], args[2]];
        let foreground = skim(args);
        assert_eq!(foreground.code, Some(254), "{foreground:#?}");
        gc();
        assert!(foreground.stdout.contains("oops"), "{foreground:#?}");
        assert_says(
            &[foreground],
            &format!("its {event} handler: exited with code 9"),
        );
    }
    Trace::assert_none();
}

#[test]
fn a_dependency_that_is_not_up_is_named() {
    let host = Host::new();
    let unit = Path::new("/run/systemd/system/diagnosis-test.service");
    fs::write(unit, "[Service]\nType=oneshot\nExecStart=/bin/false\n").expect("cannot write");
    let image = Image::busybox(&host, NAME)
        .exec(&["/bin/sleep", "1000"])
        .build();
    let flags = [
        "--property",
        "Requires=diagnosis-test.service",
        "--property",
        "After=diagnosis-test.service",
    ];
    let outcomes = run_both_ways(&image, &flags, 254);
    fs::remove_file(unit).expect("cannot remove the unit");
    assert_says(
        &outcomes,
        "not started, as diagnosis-test.service is not up, which it requires",
    );
    Trace::assert_none();
}

/// What an app writes reaches a terminal by `--detach`'s message, too.
#[test]
fn hostile_lines_are_harmless_in_the_message() {
    let host = Host::new();
    let script = r"printf '\033[2J\033]0;owned\007 fine \302\233 \342\200\256txt\r\377\n'; exit 3";
    let image = Image::busybox(&host, NAME)
        .exec(&["/bin/sh", "-c", script])
        .annotation("skim.dropin", "[Service]\nType=notify\n")
        .build();
    let outcome = skim(["run".as_ref(), "--detach".as_ref(), image.as_os_str()]);
    assert_eq!(outcome.code, Some(3), "{outcome:#?}");
    let is_harmless = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
    assert!(outcome.stderr.chars().all(is_harmless), "{outcome:#?}");
    assert!(outcome.stderr.contains("    \\u{1b}[2J"), "{outcome:#?}");
    assert_says(&[outcome], "exited with code 3");
    gc();
    Trace::assert_none();
}

/// In the foreground the output was printed already.
#[test]
fn output_is_shown_once() {
    let host = Host::new();
    let image = Image::busybox(&host, NAME)
        .exec(&["/bin/sh", "-c", "echo last words; exit 4"])
        .annotation("skim.dropin", "[Service]\nType=notify\n")
        .build();
    let [foreground, detached] = run_both_ways(&image, &[], 4);
    assert_eq!(foreground.stdout, "last words\n");
    assert!(!foreground.stderr.contains("last words"), "{foreground:#?}");
    assert_eq!(detached.stdout, "");
    assert!(
        detached.stderr.contains("\n    last words\n"),
        "{detached:#?}"
    );
    // The command that is named shows it.
    let see = detached
        .stderr
        .lines()
        .last()
        .and_then(|line| line.strip_prefix("skim: see: skim "));
    let logs = skim(see.expect("a command is named").split(' ')).success();
    assert!(logs.stdout.contains("last words"), "{logs:#?}");
    Trace::assert_none();
}

#[test]
fn an_app_that_is_well_is_not_spoken_of() {
    let host = Host::new();
    let image = Image::busybox(&host, NAME).exec(&["/bin/true"]).build();
    let outcome = skim(["run".as_ref(), "--rm".as_ref(), image.as_os_str()]).success();
    assert_eq!(outcome.stderr, "", "{outcome:#?}");
    Trace::assert_none();
}
