//! A command on a terminal, with somebody who types.

use std::ffi::OsStr;

use serde_json::json;

use super::command::{Outcome, run};

const SCRIPT: &str = include_str!("terminal.py");

/// What somebody at a terminal does.
pub(crate) enum Step<'a> {
    /// Waits until this is shown.
    Expect(&'a str),
    /// Types this.
    Send(&'a str),
}

/// Ctrl-C, Ctrl-D, Ctrl-Z.
pub(crate) const INTERRUPT: Step<'static> = Step::Send("\u{3}");
pub(crate) const END_OF_FILE: Step<'static> = Step::Send("\u{4}");
pub(crate) const SUSPEND: Step<'static> = Step::Send("\u{1a}");

/// Runs a command on a terminal of 33 lines and 77 columns. What it shows is the outcome's stdout.
#[track_caller]
pub(crate) fn on_terminal<S: AsRef<OsStr>>(
    steps: &[Step<'_>],
    command: impl IntoIterator<Item = S>,
) -> Outcome {
    let steps: Vec<_> = steps
        .iter()
        .map(|step| match step {
            Step::Expect(text) => json!(["expect", text]),
            Step::Send(text) => json!(["send", text]),
        })
        .collect();
    let mut args: Vec<_> = ["-c", SCRIPT].map(Into::into).into();
    args.push(json!(steps).to_string().into());
    args.extend(command.into_iter().map(|arg| arg.as_ref().to_owned()));
    run("python3", args)
}
