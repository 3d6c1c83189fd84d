//! `os/linux/seccomp-retain-set` and `-remove-set` as `SystemCallFilter=` (systemd.exec(5)): pure.
//!
//! systemd passes over the name of a system call that it does not know with a line in the
//! journal; here it is refused. The table holds what `systemd-analyze syscall-filter @known` of
//! systemd 252 and 257 prints, for all architectures.

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use stage1_skim::unit::Setting;

use crate::image::manifest::fields::Fields;

const SYSCALLS: &str = include_str!("syscalls.txt");

/// What an app cannot be started without, and the groups that hold it.
const STARTS: [&str; 4] = ["execve", "@default", "@known", "@system-service"];

/// The groups of system calls that systemd has (`systemd-analyze syscall-filter`).
const GROUPS: [&str; 29] = [
    "aio",
    "basic-io",
    "chown",
    "clock",
    "cpu-emulation",
    "debug",
    "default",
    "file-system",
    "io-event",
    "ipc",
    "keyring",
    "known",
    "memlock",
    "module",
    "mount",
    "network-io",
    "obsolete",
    "pkey",
    "privileged",
    "process",
    "raw-io",
    "reboot",
    "resources",
    "setuid",
    "signal",
    "swap",
    "sync",
    "system-service",
    "timer",
];

/// Whether a set holds what is allowed or what is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What is not in the set is blocked.
    Retain,
    /// What is in the set is blocked.
    Remove,
}

/// What a set comes to: the names of system calls and of systemd's groups, and whether one of
/// appc's own groups stands for all or for none.
#[derive(Debug, Default)]
struct Set {
    names: Vec<String>,
    all: bool,
    empty: bool,
}

/// The settings that the isolator stands for; none where it blocks nothing.
///
/// # Errors
/// Where the set is empty, or something in it is no system call and no group; where it would
/// leave none; where the error is none.
pub fn settings(mode: Mode, value: &Value) -> Result<Vec<Setting>> {
    let fields = Fields::new("value", value)?;
    let set = parse(&fields.strings("set")?)?;
    let errno = fields.string("errno")?.filter(|errno| !errno.is_empty());
    if let Some(errno) = &errno {
        ensure!(
            stage1_skim::seccomp::errno(errno).is_some(),
            "value.errno: `{}` is no error of errno(3), such as EPERM",
            errno.escape_debug()
        );
    }
    let prefix = match mode {
        // appc: "masks all other values".
        Mode::Retain if set.all => return Ok(Vec::new()),
        Mode::Remove if set.empty => return Ok(Vec::new()),
        Mode::Remove if set.all => bail!("value.set: it leaves the app no system call"),
        Mode::Retain if set.names.is_empty() => {
            bail!("value.set: it leaves the app no system call")
        }
        Mode::Retain => "",
        Mode::Remove => {
            let starts = |name: &&String| STARTS.contains(&name.as_str());
            if let Some(name) = set.names.iter().find(starts) {
                bail!("value.set: without `{name}` the app could not even be started");
            }
            "~"
        }
    };
    let filter = format!("{prefix}{}", set.names.join(" "));
    let mut settings = vec![Setting::service("SystemCallFilter", filter)];
    if let Some(errno) = errno {
        settings.push(Setting::service("SystemCallErrorNumber", errno));
    }
    Ok(settings)
}

fn parse(words: &[String]) -> Result<Set> {
    ensure!(!words.is_empty(), "value.set: missing or empty");
    let mut set = Set::default();
    for word in words {
        let name = match word.strip_prefix('@') {
            Some("appc.io/all") => {
                set.all = true;
                continue;
            }
            Some("appc.io/empty") => {
                set.empty = true;
                continue;
            }
            Some(group) => systemd_group(group)?,
            None => {
                ensure!(
                    SYSCALLS.lines().any(|known| known == word),
                    "value.set: `{}` is no system call that systemd knows (see \
                     systemd-analyze syscall-filter @known)",
                    word.escape_debug()
                );
                word.clone()
            }
        };
        if !set.names.contains(&name) {
            set.names.push(name);
        }
    }
    Ok(set)
}

fn systemd_group(group: &str) -> Result<String> {
    let shown = group.escape_debug();
    if group.starts_with("rkt/") || group.starts_with("docker/") {
        bail!(
            "value.set: skim has no list `@{shown}`: `@systemd/system-service` holds what a \
             usual service needs"
        );
    }
    match group.strip_prefix("systemd/") {
        Some(name) if GROUPS.contains(&name) => Ok(format!("@{name}")),
        _ => bail!(
            "value.set: `@{shown}` is no group of system calls (see systemd-analyze \
             syscall-filter; `@systemd/mount` means its @mount)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(mode: Mode, value: &Value) -> Vec<String> {
        let settings = settings(mode, value).unwrap();
        let lines = settings.iter();
        lines.map(|s| format!("{}={}", s.key, s.value)).collect()
    }

    #[test]
    fn sets_become_lists_of_systemd() {
        use Mode::{Remove, Retain};
        for (mode, value, expected) in [
            (
                Retain,
                json!({"set": ["read", "write", "read", "@systemd/mount"]}),
                &["SystemCallFilter=read write @mount"][..],
            ),
            (
                Remove,
                json!({"set": ["reboot", "@systemd/clock"], "errno": "ENOTSUP"}),
                &[
                    "SystemCallFilter=~reboot @clock",
                    "SystemCallErrorNumber=ENOTSUP",
                ],
            ),
            (
                Remove,
                json!({"set": ["reboot"], "errno": ""}),
                &["SystemCallFilter=~reboot"],
            ),
            (
                Retain,
                json!({"set": ["@appc.io/empty", "read"]}),
                &["SystemCallFilter=read"],
            ),
            (Retain, json!({"set": ["read", "@appc.io/all"]}), &[]),
            (Remove, json!({"set": ["reboot", "@appc.io/empty"]}), &[]),
        ] {
            assert_eq!(text(mode, &value), expected, "{value}");
        }
    }

    #[test]
    fn what_systemd_would_pass_over_is_refused() {
        use Mode::{Remove, Retain};
        for (mode, value, message) in [
            (Retain, json!({"set": []}), "missing or empty"),
            (Retain, json!({}), "missing or empty"),
            (Retain, json!({"set": ["@appc.io/empty"]}), "no system call"),
            (Remove, json!({"set": ["@appc.io/all"]}), "no system call"),
            (Remove, json!({"set": ["execve"]}), "without `execve`"),
            (
                Remove,
                json!({"set": ["@systemd/default"]}),
                "without `@default`",
            ),
            (
                Remove,
                json!({"set": ["reboo"]}),
                "`reboo` is no system call",
            ),
            (
                Remove,
                json!({"set": ["REBOOT"]}),
                "`REBOOT` is no system call",
            ),
            (
                Remove,
                json!({"set": ["~read"]}),
                "`~read` is no system call",
            ),
            (
                Remove,
                json!({"set": ["read write"]}),
                "`read write` is no system call",
            ),
            (
                Remove,
                json!({"set": ["a\nb"]}),
                "`a\\nb` is no system call",
            ),
            (
                Remove,
                json!({"set": ["@mount"]}),
                "`@mount` is no group of system calls",
            ),
            (
                Remove,
                json!({"set": ["@systemd/nope"]}),
                "`@systemd/nope` is no group",
            ),
            (
                Retain,
                json!({"set": ["@rkt/default-whitelist"]}),
                "`@systemd/system-service` holds",
            ),
            (
                Retain,
                json!({"set": ["@docker/default-whitelist"]}),
                "`@systemd/system-service` holds",
            ),
            (
                Retain,
                json!({"set": ["read"], "errno": "eperm"}),
                "`eperm` is no error",
            ),
            (
                Retain,
                json!({"set": ["read"], "errno": "EFOO"}),
                "`EFOO` is no error",
            ),
        ] {
            let error = format!("{:#}", settings(mode, &value).unwrap_err());
            assert!(error.contains(message), "{value}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_tables_are_sorted() {
        assert!(SYSCALLS.lines().is_sorted());
        assert!(GROUPS.is_sorted());
    }
}
