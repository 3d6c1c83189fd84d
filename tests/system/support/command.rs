//! Running commands and keeping what they said.

use std::ffi::OsStr;
use std::process::{Child, Command, Output, Stdio};

/// How long any one command may take, in seconds: long enough for an import on a busy machine.
const LIMIT: &str = "120";

/// How a command ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The outcome, if the command exited with 0.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        assert_eq!(self.code, Some(0), "failed: {self:#?}");
        self
    }

    /// The only line on stdout, of a command that exited with 0.
    #[track_caller]
    pub(crate) fn line(self) -> String {
        let outcome = self.success();
        let mut lines = outcome.stdout.lines();
        match (lines.next(), lines.next()) {
            (Some(line), None) => line.to_owned(),
            _ => panic!("expected one line on stdout: {outcome:#?}"),
        }
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A command that is ended when it takes too long (it exits with 124 then).
pub(crate) fn limited(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--foreground", "--kill-after=10", LIMIT, program]);
    command
}

/// Starts skim, with nothing to read and everything it prints kept.
#[track_caller]
pub(crate) fn spawn(args: &[&str]) -> Child {
    limited("skim")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cannot run skim")
}

/// How what was started ends, and what it printed.
#[track_caller]
pub(crate) fn outcome(child: Child) -> Outcome {
    let output = child.wait_with_output();
    output.expect("cannot wait for skim").into()
}

/// Runs a program with its arguments to its end.
#[track_caller]
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Outcome {
    match limited(program).args(args).output() {
        Ok(output) => output.into(),
        Err(error) => panic!("cannot run {program}: {error}"),
    }
}

/// Runs skim.
#[track_caller]
pub(crate) fn skim<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Outcome {
    run("skim", args)
}
