//! System call filters of apps that stage1-skim starts (seccomp(2), `SystemCallFilter=`).
//!
//! systemd installs an app's filter before it executes stage1-skim, which calls what the app
//! may not be allowed to call, before it is the app. So the unit allows [`CALLS`], too, and right
//! before stage1-skim becomes the app it installs a second filter, which blocks those of them
//! that the app's own filter does: filters add up, and none can be taken back. What it takes to
//! become the app from there on, execve(2), systemd always allows.
//!
//! Whoever may not administer the system can install a filter only with `no_new_privs` set
//! (seccomp(2)), so that the second filter sets it; systemd does the same for a service with
//! `User=`.
//!
//! The second filter is of this machine's own architecture, and kills whoever calls by another's
//! numbers (a 32-bit program on x86-64), even where the app's own filter would not. To let them
//! through would not do: what the unit allows it allows to every architecture, so that by the
//! other one an app could call what it must not.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::unit::Setting;

/// The system calls that stage1-skim makes from its start on until it is the app, beyond those
/// that systemd always allows (`@default`): with the groups of systemd that hold them.
/// `@known`, which holds all, is left out.
const CALLS: &[(&str, libc::c_long, &[&str])] = &[
    ("capset", libc::SYS_capset, &["privileged"]),
    ("close", libc::SYS_close, &["basic-io", "file-system"]),
    ("fcntl", libc::SYS_fcntl, &["file-system"]),
    ("fstat", libc::SYS_fstat, &["file-system"]),
    ("newfstatat", libc::SYS_newfstatat, &["file-system"]),
    ("openat", libc::SYS_openat, &["file-system"]),
    #[cfg(target_arch = "x86_64")]
    ("poll", libc::SYS_poll, &["io-event"]),
    ("ppoll", libc::SYS_ppoll, &["io-event"]),
    ("prctl", libc::SYS_prctl, &["process"]),
    ("read", libc::SYS_read, &["basic-io"]),
    #[cfg(target_arch = "x86_64")]
    ("readlink", libc::SYS_readlink, &["file-system"]),
    ("readlinkat", libc::SYS_readlinkat, &["file-system"]),
    ("rt_sigaction", libc::SYS_rt_sigaction, &["signal"]),
    ("setgroups", libc::SYS_setgroups, &["privileged", "setuid"]),
    ("setresgid", libc::SYS_setresgid, &["setuid"]),
    ("setresuid", libc::SYS_setresuid, &["privileged", "setuid"]),
    ("sigaltstack", libc::SYS_sigaltstack, &["signal"]),
    ("write", libc::SYS_write, &["basic-io"]),
];

/// The call that installs the second filter; no group holds it.
const INSTALL: (&str, libc::c_long) = ("seccomp", libc::SYS_seccomp);

/// The groups that hold all of [`CALLS`].
const HOLD_ALL: [&str; 2] = ["@known", "@system-service"];

/// What is added to a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addition {
    /// The unit's part.
    pub settings: Vec<Setting>,
    /// The system calls that the second filter blocks.
    pub blocked: Vec<String>,
    /// The error that they fail with; without one, they kill the process.
    pub errno: Option<String>,
}

/// What it takes so that stage1-skim starts an app with these settings, the unit's in their
/// order. Pure.
pub fn add_to(settings: &[Setting]) -> Addition {
    let settings: Vec<_> = settings.iter().collect();
    let mut blocked: Vec<_> = CALLS
        .iter()
        .filter(|(name, _, groups)| !allows(&settings, name, groups))
        .map(|(name, ..)| name.to_string())
        .collect();
    if blocked.is_empty() {
        return Addition::default();
    }
    // setresuid(2) and its like must be allowed here; prctl(2) is in the list already where it
    // is blocked.
    if !allows(&settings, INSTALL.0, &[]) {
        blocked.push(INSTALL.0.to_string());
    }
    let mut numbers = settings.iter().rev();
    let errno = numbers.find(|setting| setting.key == "SystemCallErrorNumber");
    let errno = errno.map(|setting| setting.value.trim());
    Addition {
        settings: vec![Setting::service("SystemCallFilter", blocked.join(" "))],
        blocked,
        errno: errno.filter(|name| !name.is_empty()).map(str::to_string),
    }
}

/// A system call that stage1-skim makes and that `settings`, the unit's in their order, do not
/// leave it: `SystemCallFilter=` of an image or a user holds from systemd's start of stage1-skim
/// on. Pure.
pub fn missing(settings: &[&Setting]) -> Option<&'static str> {
    let calls = CALLS
        .iter()
        .find(|(name, _, groups)| !allows(settings, name, groups));
    calls.map(|(name, ..)| *name)
}

/// Whether the `SystemCallFilter=` of `settings` allow the call `name`, which is in `groups`.
fn allows(settings: &[&Setting], name: &str, groups: &[&str]) -> bool {
    let filters = settings.iter();
    let filters = filters.filter(|setting| setting.key == "SystemCallFilter");
    // An empty value resets the list; the first one after it tells whether the list allows.
    let allowed = filters.fold(None, |allowed, setting| {
        let value = setting.value.trim();
        match (value.is_empty(), lists(value, name, groups)) {
            (true, _) => None,
            (false, (denies, true)) => Some(!denies),
            (false, (denies, false)) => allowed.or(Some(denies)),
        }
    });
    allowed.unwrap_or(true)
}

/// Whether the value of a `SystemCallFilter=` denies what it lists, and whether it lists the call
/// `name`, which is in `groups`.
fn lists(filter: &str, name: &str, groups: &[&str]) -> (bool, bool) {
    let (denies, list) = match filter.strip_prefix('~') {
        Some(list) => (true, list),
        None => (false, filter),
    };
    let listed = list.split_whitespace().any(|word| {
        // `CALL:ERROR`.
        let word = word.split_once(':').map_or(word, |(word, _)| word);
        let all = HOLD_ALL.contains(&word) && (name != INSTALL.0 || word == "@known");
        let group = word.strip_prefix('@');
        word == name || all || group.is_some_and(|group| groups.contains(&group))
    });
    (denies, listed)
}

/// The number of the error `name` (errno(3)).
pub fn errno(name: &str) -> Option<i32> {
    // Names that are another's on Linux.
    let name = match name {
        "ENOTSUP" => "EOPNOTSUPP",
        "EWOULDBLOCK" => "EAGAIN",
        "EDEADLOCK" => "EDEADLK",
        name => name,
    };
    // errno(3) ends with EHWPOISON, 133; there are gaps.
    (1..=133)
        .map(|number| (number, Errno::from_raw(number)))
        .filter(|(_, error)| *error != Errno::UnknownErrno)
        .find(|(_, error)| format!("{error:?}") == name)
        .map(|(number, _)| number)
}

/// Installs the second filter: `blocked`, names of [`CALLS`], fail with `error` from here on, or
/// kill the process.
///
/// # Errors
/// Where a name is none of these, or the kernel refuses.
pub fn install(blocked: &[String], error: Option<&str>) -> Result<()> {
    if blocked.is_empty() {
        return Ok(());
    }
    let action = match error {
        None => SeccompAction::KillProcess,
        Some(name) => {
            let number = errno(name).with_context(|| format!("{name:?} is no error"))?;
            SeccompAction::Errno(number.unsigned_abs())
        }
    };
    let mut numbers = BTreeMap::new();
    for name in blocked {
        let number = number(name).with_context(|| format!("{name:?} is not to be blocked"))?;
        numbers.insert(number, Vec::new());
        // The same call by another door of the kernel (x32 ABI, `__X32_SYSCALL_BIT`).
        #[cfg(target_arch = "x86_64")]
        numbers.insert(number | 0x4000_0000, Vec::new());
    }
    let arch = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(numbers, SeccompAction::Allow, action, arch)?;
    let program: BpfProgram = filter.try_into()?;
    ensure!(!program.is_empty(), "the filter is empty");
    seccompiler::apply_filter(&program).context("cannot install the system call filter")
}

fn number(name: &str) -> Option<i64> {
    let calls = CALLS.iter().map(|(name, number, _)| (*name, *number));
    calls
        .chain([INSTALL])
        .find(|(known, _)| *known == name)
        .map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(filter: &str) -> String {
        let settings = [
            Setting::service("SystemCallFilter", filter),
            Setting::service("SystemCallErrorNumber", "EPERM"),
        ];
        let addition = add_to(&settings);
        let names = addition.blocked.join(" ");
        match addition.settings.as_slice() {
            [] => assert_eq!(addition, Addition::default()),
            [setting] => {
                assert_eq!(setting, &Setting::service("SystemCallFilter", &*names));
                assert_eq!(addition.errno.as_deref(), Some("EPERM"));
            }
            _ => panic!("{addition:?}"),
        }
        names
    }

    #[test]
    fn what_the_filter_blocks_is_allowed_first_and_blocked_later() {
        assert_eq!(added("@system-service"), "");
        assert_eq!(added("@known"), "");
        assert_eq!(added("~reboot @clock"), "");
        assert_eq!(added("~setresuid reboot"), "setresuid");
        assert_eq!(added("~@setuid"), "setgroups setresgid setresuid");
        assert_eq!(added("~openat seccomp"), "openat seccomp");
        assert_eq!(
            added("@basic-io @file-system @io-event @process @signal"),
            "capset setgroups setresgid setresuid seccomp"
        );
        let all = added("@default");
        assert_eq!(all.split(' ').count(), CALLS.len() + 1);
        assert_eq!(add_to(&[]), Addition::default());
    }

    #[test]
    fn what_a_unit_does_not_leave_is_found() {
        for (filters, expected) in [
            (&[][..], None),
            (&[""], None),
            (&["@system-service"], None),
            (&["~@clock @reboot"], None),
            (&["@system-service", "~@clock"], None),
            (&["@basic-io", "@system-service"], None),
            (&["~setresuid", ""], None),
            (&["~setresuid", "setresuid"], None),
            (&["~setresuid"], Some("setresuid")),
            (&["~setresuid:EPERM"], Some("setresuid")),
            (&["@system-service", "~@privileged"], Some("capset")),
            (&["@basic-io"], Some("capset")),
            (&["", "@basic-io"], Some("capset")),
            (&["@basic-io capset", "~capset"], Some("capset")),
        ] {
            let settings: Vec<_> = filters
                .iter()
                .map(|value| Setting::service("SystemCallFilter", *value))
                .collect();
            let settings: Vec<_> = settings.iter().collect();
            assert_eq!(missing(&settings), expected, "{filters:?}");
        }
    }

    #[test]
    fn errors_have_names() {
        for (name, number) in [
            ("EPERM", Some(1)),
            ("EHWPOISON", Some(133)),
            ("ENOTSUP", Some(95)),
            ("EWOULDBLOCK", Some(11)),
            ("EFOO", None),
            ("UnknownErrno", None),
            ("", None),
        ] {
            assert_eq!(
                errno(name),
                number.filter(|_| name.starts_with('E')),
                "{name}"
            );
        }
    }

    #[test]
    fn only_what_was_allowed_is_blocked() {
        assert!(install(&["reboot".into()], None).is_err());
        assert!(install(&["read".into()], Some("EFOO")).is_err());
    }

    /// The table holds what `systemd-analyze syscall-filter` prints, where it is there.
    #[test]
    fn groups_are_systemds() {
        let Ok(output) = std::process::Command::new("systemd-analyze")
            .args(["syscall-filter", "--no-pager"])
            .output()
        else {
            return;
        };
        let text = String::from_utf8(output.stdout).unwrap();
        let mut group = "";
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('@') {
                group = name;
            }
            let found = CALLS.iter().find(|(name, ..)| *name == line.trim());
            if let Some((name, _, groups)) = found
                && !["known", "system-service"].contains(&group)
            {
                assert!(groups.contains(&group), "{name} is in @{group}");
            }
        }
    }
}
