//! The service manager, asked through systemctl.

use super::command::{Outcome, run};
use super::journal::Cursor;

/// A property of a unit, as `systemctl show` prints it.
#[track_caller]
pub(crate) fn property(unit: &str, name: &str) -> String {
    let args = ["show", "--value", "--property", name, "--", unit];
    run("systemctl", args)
        .success()
        .stdout
        .trim_end()
        .to_owned()
}

/// A property that is a number.
#[track_caller]
pub(crate) fn number(unit: &str, name: &str) -> u64 {
    let value = property(unit, name);
    value
        .parse()
        .unwrap_or_else(|_| panic!("{name} of {unit} is no number: {value:?}"))
}

/// `ActiveState (SubState)`, as `systemctl status` shows it.
#[track_caller]
pub(crate) fn state(unit: &str) -> String {
    format!(
        "{} ({})",
        property(unit, "ActiveState"),
        property(unit, "SubState")
    )
}

/// The PID of the unit's main process, 0 where it has none.
#[track_caller]
pub(crate) fn main_pid(unit: &str) -> u32 {
    let pid = number(unit, "MainPID");
    u32::try_from(pid).expect("a PID has 32 bits")
}

/// Sends a signal to the main process of a unit only.
#[track_caller]
pub(crate) fn kill_main(unit: &str, signal: &str) {
    run(
        "systemctl",
        ["kill", "--kill-whom=main", "--signal", signal, "--", unit],
    )
    .success();
}

/// The loaded units whose names begin with `skim-`, in whatever state, one a line.
#[track_caller]
pub(crate) fn skim_units() -> Vec<String> {
    let args = [
        "list-units",
        "--all",
        "--no-legend",
        "--plain",
        "--full",
        "skim-*",
    ];
    let outcome: Outcome = run("systemctl", args).success();
    outcome.stdout.lines().map(str::to_owned).collect()
}

/// How often the service manager has reloaded its configuration since the cursor.
#[track_caller]
pub(crate) fn reloads_since(cursor: &Cursor) -> usize {
    // "Reloading." or, since systemd 254, "Reloading...".
    let messages = cursor.messages(&["_PID=1"]);
    messages
        .iter()
        .filter(|message| message.text.starts_with("Reloading."))
        .count()
}
