use std::path::PathBuf;

use super::*;

const SERVICE: &str = "skim-0-web.service";
const SOCKET: &str = "skim-0-web.http.socket";

fn app() -> AppPlan {
    let command = |path: &str| ExecPlan {
        path: path.into(),
        argv: vec![path.into()],
    };
    AppPlan {
        exec: command("/r/bin/web"),
        pre_start: Some(command("/r/bin/pre")),
        post_stop: Some(command("/r/bin/post")),
        working_directory: "/r/srv".into(),
        ..AppPlan::example("web")
    }
}

fn entry(fields: &[(&str, &str)]) -> Entry {
    let fields = fields.iter().map(|(name, value)| {
        let name: &str = name;
        let value: &str = value;
        (name.into(), value.into())
    });
    Entry::new(fields)
}

fn of_app(message: &str) -> Entry {
    entry(&[("MESSAGE", message), ("_TRANSPORT", "stdout")])
}

fn of_systemd(message: &str, priority: &str) -> Entry {
    entry(&[
        ("MESSAGE", &format!("{SERVICE}: {message}")),
        ("UNIT", SERVICE),
        ("PRIORITY", priority),
        ("_PID", "1"),
    ])
}

/// What systemd's child says of a failure.
fn spawn_failure(reason: &str, errno: &str) -> Vec<Entry> {
    let common = [("UNIT", SERVICE), ("PRIORITY", "3"), ("_PID", "77")];
    let entry = |more: &[(&str, &str)]| entry(&[&common, more].concat());
    vec![
        entry(&[("MESSAGE", &format!("{SERVICE}: {reason}"))]),
        entry(&[
            ("MESSAGE", "Failed at step X spawning /r/bin/web"),
            ("MESSAGE_ID", "641257651c1b4ec9a8624d7a40a9e1e7"),
            ("ERRNO", errno),
        ]),
    ]
}

struct Case {
    result: &'static str,
    main: Main,
    service: &'static str,
    was_up: bool,
    detail: ServiceDetail,
    journal: Vec<Entry>,
    finding: Option<Finding>,
    says: &'static str,
}

impl Case {
    fn new(result: &'static str, main: Main, says: &'static str) -> Self {
        Self {
            result,
            main,
            service: SERVICE,
            was_up: false,
            detail: ServiceDetail {
                kind: "exec".into(),
                start_timeout: 90_000_000,
                watchdog: 2_500_000,
                memory_max: u64::MAX,
                ..ServiceDetail::default()
            },
            journal: vec![],
            finding: None,
            says,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn headline(&self) -> String {
        let ended = Ended {
            code: self.main.code(),
            failed: true,
            result: self.result.into(),
            main: self.main,
            was_up: self.was_up,
        };
        let app = app();
        let facts = Facts {
            app: &app,
            service: self.service,
            ended: &ended,
            detail: &self.detail,
            journal: &self.journal,
        };
        facts.headline(self.finding.as_ref())
    }
}

fn p(path: &str) -> PathBuf {
    path.into()
}

#[track_caller]
fn check(cases: impl IntoIterator<Item = Case>) {
    for case in cases {
        let says = format!("app web failed: {}", case.says);
        assert_eq!(case.headline(), says, "{} {:?}", case.result, case.main);
    }
}

#[test]
fn what_is_found_tells_the_error_that_systemd_does_not() {
    let silent = |finding, says| {
        Case::new("exit-code", Main::Exited(203), says).with(|case| case.finding = Some(finding))
    };
    check([
        silent(
            Finding::MissingInterpreter(p("/r/bin/web"), p("/lib/ld.so")),
            "cannot execute /r/bin/web: its interpreter /lib/ld.so is missing in the image (203/EXEC, ENOENT)",
        ),
        silent(
            Finding::NotExecutable(p("/r/bin/web")),
            "cannot execute /r/bin/web: it has no execute permission for its user (203/EXEC, EACCES)",
        ),
        silent(
            Finding::NotAProgram(p("/r/bin/web")),
            "cannot execute /r/bin/web: it is neither a program nor a script with a #! line (203/EXEC, ENOEXEC)",
        ),
        // ELIBBAD where it is the loader of an ELF file, else ENOEXEC.
        silent(
            Finding::NotAProgram(p("/r/x")),
            "cannot execute /r/bin/web: its interpreter /r/x is neither a program nor a script with a #! line (203/EXEC)",
        ),
    ]);
}

#[test]
fn programs_that_cannot_be_executed() {
    let exec = |errno: &str, finding, says| {
        Case::new("exit-code", Main::Exited(203), says).with(|case| {
            case.journal = spawn_failure("Failed to execute /r/bin/web: …", errno);
            case.finding = finding;
        })
    };
    check([
        exec(
            "2",
            Some(Finding::MissingInterpreter(
                p("/r/bin/web"),
                p("/lib/ld.so"),
            )),
            "cannot execute /r/bin/web: its interpreter /lib/ld.so is missing in the image (203/EXEC, ENOENT)",
        ),
        exec(
            "2",
            Some(Finding::MissingInterpreter(p("/r/x"), p("/lib/ld.so"))),
            "cannot execute /r/bin/web: the interpreter /lib/ld.so of its interpreter /r/x is missing in the image (203/EXEC, ENOENT)",
        ),
        exec(
            "2",
            Some(Finding::Missing(p("/r/bin/web"))),
            "cannot execute /r/bin/web: it does not exist (203/EXEC, ENOENT)",
        ),
        exec(
            "8",
            Some(Finding::NotAProgram(p("/r/bin/web"))),
            "cannot execute /r/bin/web: it is neither a program nor a script with a #! line (203/EXEC, ENOEXEC)",
        ),
        exec(
            "13",
            Some(Finding::NotExecutable(p("/r/bin/sh"))),
            "cannot execute /r/bin/web: its interpreter /r/bin/sh has no execute permission for its user (203/EXEC, EACCES)",
        ),
        exec(
            "13",
            Some(Finding::Closed(p("/r"))),
            "cannot execute /r/bin/web: its user may not enter /r (203/EXEC, EACCES)",
        ),
        exec(
            "7",
            None,
            "cannot execute /r/bin/web: Argument list too long (203/EXEC, E2BIG)",
        ),
        // As another user, stage1-skim says it in systemd's place.
        Case::new(
            "exit-code",
            Main::Exited(203),
            "cannot execute /r/bin/web: Permission denied (203/EXEC, EACCES)",
        )
        .with(|case| {
            case.journal = vec![of_app(
                "cannot execute /r/bin/web: EACCES: Permission denied",
            )];
        }),
        // Nobody says anything: it may be the app's own code.
        Case::new("exit-code", Main::Exited(203), "exited with code 203"),
    ]);
}

#[test]
fn what_systemd_could_not_set_up() {
    let setup = |code, reason: &str, says| {
        Case::new("exit-code", Main::Exited(code), says)
            .with(|case| case.journal = spawn_failure(reason, "2"))
    };
    check([
        setup(
            200,
            "Changing to the requested working directory failed: …",
            "cannot enter its working directory /r/srv: No such file or directory (200/CHDIR)",
        ),
        setup(
            217,
            "Failed to determine user credentials: No such process",
            "systemd could not set up its user: Failed to determine user credentials: No such process (217/USER)",
        ),
        setup(
            226,
            "Failed to set up mount namespacing: /x: No such file or directory",
            "systemd could not set up its namespaces: Failed to set up mount namespacing: /x: No such file or directory (226/NAMESPACE)",
        ),
        setup(
            228,
            "Failed to apply system call filters: Invalid argument",
            "systemd could not set up its system call filter: Failed to apply system call filters: Invalid argument (228/SECCOMP)",
        ),
        Case::new("exit-code", Main::Exited(217), "exited with code 217"),
    ]);
}

#[test]
fn codes_and_signals_of_the_app() {
    let missing = Finding::MissingLibrary("libx.so.1".into(), p("/r/bin/web"));
    check([
        Case::new("exit-code", Main::Exited(7), "exited with code 7"),
        Case::new("exit-code", Main::Exited(127), "exited with code 127"),
        Case::new("exit-code", Main::Exited(127),
            "the library libx.so.1 is missing, which /r/bin/web needs (exit code 127)")
            .with(|case| case.finding = Some(missing)),
        Case::new("exit-code", Main::Exited(127),
            "its libraries cannot be loaded: error while loading shared libraries: libx.so.1: file too short")
            .with(|case| case.journal = vec![of_app(
                "/r/bin/web: error while loading shared libraries: libx.so.1: file too short")]),
        Case::new("signal", Main::Killed(9), "killed by SIGKILL"),
        Case::new("core-dump", Main::Killed(11), "killed by SIGSEGV (core dumped)"),
        Case::new("core-dump", Main::Killed(31),
            "killed by SIGSYS: it made a system call that its filter forbids (seccomp) (core dumped)"),
        Case::new("signal", Main::Killed(40), "killed by signal 40"),
    ]);
}

#[test]
fn what_ends_otherwise() {
    let never = Main::Never;
    check([
        Case::new(
            "timeout",
            Main::Killed(15),
            "it was not up within 90s (TimeoutStartSec=)",
        ),
        Case::new(
            "timeout",
            Main::Killed(9),
            "it ran into a time limit: Stopping timed out. Killing",
        )
        .with(|case| {
            case.was_up = true;
            case.journal = vec![of_systemd("Stopping timed out. Killing.", "4")];
        }),
        Case::new(
            "protocol",
            Main::Exited(0),
            "exited with code 0 before it said that it was ready (Type=notify)",
        )
        .with(|case| case.detail.kind = "notify".into()),
        Case::new(
            "protocol",
            Main::Exited(0),
            "exited with code 0, and did not start as Type=forking wants it",
        )
        .with(|case| case.detail.kind = "forking".into()),
        Case::new(
            "watchdog",
            Main::Killed(6),
            "it gave no sign of life for 2.5s (WatchdogSec=)",
        ),
        Case::new(
            "oom-kill",
            Main::Killed(9),
            "killed as the memory ran out (oom-kill)",
        ),
        Case::new(
            "oom-kill",
            Main::Killed(9),
            "killed as it reached its limit of memory, 4096 bytes (oom-kill)",
        )
        .with(|case| case.detail.memory_max = 4096),
        Case::new(
            "start-limit-hit",
            Main::Exited(1),
            "exited with code 1, and was started too often (start-limit-hit)",
        ),
        Case::new(
            "dependency",
            never,
            "not started, as db.service is not up, which it requires",
        )
        .with(|case| case.detail.failed_dependency = Some("db.service".into())),
        Case::new(
            "assert",
            never,
            "not started, as an Assert…= of its unit does not hold",
        ),
        Case::new(
            "resources",
            never,
            "Failed to run 'start' task: No space left on device (resources)",
        )
        .with(|case| {
            case.journal = vec![of_systemd(
                "Failed to run 'start' task: No space left on device",
                "4",
            )]
        }),
        Case::new(
            "unsupported",
            never,
            "systemd could not start it (unsupported)",
        ),
    ]);
}

#[test]
fn handlers_are_told_apart() {
    let exited = |status| CommandEnd { code: 1, status };
    let says = "app web failed: its pre-start handler: exited with code 3";
    let pre = Case::new("exit-code", Main::Never, "")
        .with(|case| case.detail.pre_start = vec![exited(3)]);
    assert_eq!(pre.headline(), says);
    let says = "app web failed: its post-stop handler: exited with code 4";
    let post = Case::new("exit-code", Main::Exited(0), "").with(|case| {
        case.detail.pre_start = vec![exited(0)];
        case.detail.post_stop = vec![exited(4)];
    });
    assert_eq!(post.headline(), says);
}

#[test]
fn shows_what_was_not_shown() {
    let mut journal = vec![
        of_app("one\ttwo"),
        entry(&[("MESSAGE", "to syslog"), ("_TRANSPORT", "syslog")]),
        of_systemd("Main process exited, code=exited, status=7/NOTRUNNING", "5"),
        of_systemd("Got notification message from PID 7", "4"),
    ];
    journal.extend(spawn_failure("Failed to execute", "2"));
    let mut routine = of_systemd("Failed with result 'exit-code'.", "4");
    routine = Entry::new(
        [
            ("MESSAGE_ID", "d9b373ed55a64feb8242e02dbe79a49c"),
            ("UNIT", SERVICE),
            ("PRIORITY", "4"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into_iter()
        .chain([("MESSAGE".into(), routine.get("MESSAGE").unwrap().to_vec())]),
    );
    journal.push(routine);
    let rest = ["to syslog", "Got notification message from PID 7"];
    assert_eq!(excerpt(SERVICE, &journal, true), rest);
    let all = excerpt(SERVICE, &journal, false);
    assert_eq!(all, ["one    two", rest[0], rest[1]]);
    let many: Vec<_> = (0..30).map(|number| of_app(&number.to_string())).collect();
    let last = excerpt(SERVICE, &many, false);
    assert_eq!((last.len(), last[0].as_str()), (10, "20"));
    let long = excerpt(SERVICE, &[of_app(&"ä".repeat(5000))], false);
    assert_eq!(long[0].chars().count(), 301);
}

#[test]
fn sockets_that_fail_are_named() {
    let failed = |result: &'static str, main, by: &str, says| {
        let socket = FailedSocket {
            unit: SOCKET.into(),
            result: by.into(),
        };
        Case::new(result, main, says).with(|case| case.detail.failed_socket = Some(socket))
    };
    check([
        failed(
            "socket",
            Main::Exited(0),
            "trigger-limit-hit",
            "its socket skim-0-web.http.socket started it again and again, as it ends without \
             taking the connection (trigger-limit-hit)",
        ),
        failed(
            "start-limit-hit",
            Main::Exited(0),
            "service-start-limit-hit",
            "exited with code 0, and its socket skim-0-web.http.socket started it too often \
             (start-limit-hit)",
        ),
        failed(
            "socket",
            Main::Never,
            "resources",
            "its socket skim-0-web.http.socket does not listen (resources)",
        ),
        Case::new(
            "socket",
            Main::Never,
            "not started, as its socket could not be opened",
        ),
        failed(
            "socket",
            Main::Never,
            "resources",
            "its socket skim-0-web.http.socket does not listen: the address is in use (resources)",
        )
        .with(|case| {
            let of_socket =
                |message: &str| entry(&[("UNIT", SOCKET), ("PRIORITY", "4"), ("MESSAGE", message)]);
            case.service = SOCKET;
            case.journal = ["the address is in use", "I/O error"]
                .map(of_socket)
                .to_vec();
        }),
    ]);
}
