//! Names of pod files, which are those of units. Pure.

use anyhow::{Result, bail, ensure};
use stage1_skim::names::UNIT_NAME_MAX;

/// The longest name: `NAME-APP.socket` is made of it, too.
const MAX: usize = 128;

/// Services of systemd and of skim whose place no pod may take: without them the host does not
/// come up, or skim does not run.
const RESERVED: &[&str] = &[
    "console-getty",
    "container-getty",
    "dbus",
    "dbus-broker",
    "debug-shell",
    "emergency",
    "getty",
    "initrd-cleanup",
    "initrd-parse-etc",
    "initrd-switch-root",
    "initrd-udevadm-cleanup-db",
    "kmod-static-nodes",
    "ldconfig",
    "modprobe",
    "quotaon",
    "rc-local",
    "rescue",
    "serial-getty",
    "systemd",
    "user",
    "user-runtime-dir",
];

/// Beginnings of such names.
const RESERVED_PREFIXES: &[&str] = &["systemd-", "skim-", "dbus-org.freedesktop."];

/// Checks what a pod file is called, without `.skim`.
///
/// # Errors
/// Where no service may be called so.
pub fn check(name: &str) -> Result<()> {
    let shown = name.escape_debug();
    ensure!(
        name.len() <= MAX,
        "the name of a pod file has at most {MAX} bytes"
    );
    if let Some((stem, _)) = name.split_once('@') {
        bail!(
            "`{shown}` cannot name a pod file: pods have no instances; call it {}, or use a file for each",
            stem.escape_debug()
        );
    }
    ensure!(
        !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain),
        "`{shown}` cannot name a service: only letters, digits and : _ . - may stand in it (systemd.unit(5))"
    );
    ensure!(
        !is_reserved(name),
        "`{shown}` is the name of a service that the host needs: give the file another name"
    );
    Ok(())
}

/// Checks the name of a unit, such as a value of `WantedBy=`.
///
/// # Errors
/// Where it is none.
pub fn check_unit(unit: &str) -> Result<()> {
    const KINDS: &[&str] = &[
        "automount",
        "device",
        "mount",
        "path",
        "scope",
        "service",
        "slice",
        "socket",
        "swap",
        "target",
        "timer",
    ];
    let kind = unit.rsplit_once('.');
    let is_unit = kind.is_some_and(|(stem, kind)| !stem.is_empty() && KINDS.contains(&kind));
    let plain = |c: char| is_plain(c) || matches!(c, '@' | '\\');
    ensure!(
        is_unit && unit.chars().all(plain) && unit.len() <= UNIT_NAME_MAX,
        "`{}` is not the name of a unit, such as multi-user.target",
        unit.escape_debug()
    );
    Ok(())
}

/// Whether a service of this name, without its suffix, is one that the host needs; its socket has
/// the same name.
pub fn is_reserved(name: &str) -> bool {
    let stem = name.split('@').next().unwrap_or_default();
    RESERVED.contains(&stem)
        || RESERVED_PREFIXES
            .iter()
            .any(|begin| name.starts_with(begin))
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '.' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_services() {
        for good in ["docker", "a", "my-app_1.2", "a:b", "X"] {
            check(good).unwrap();
        }
        for (bad, part) in [
            ("", "cannot name"),
            ("a b", "only letters"),
            ("ä", "only letters"),
            (".a", "only letters"),
            ("a/b", "only letters"),
            ("a\nb", "`a\\nb`"),
            ("web@1", "call it web"),
            ("systemd", "that the host needs"),
            ("systemd-journald", "that the host needs"),
            ("skim-gc", "that the host needs"),
            ("dbus", "that the host needs"),
            (&"a".repeat(129), "at most 128"),
        ] {
            let error = format!("{:#}", check(bad).unwrap_err());
            assert!(error.contains(part), "{bad:?}: {error}");
        }
    }

    #[test]
    fn units_have_a_kind() {
        for good in ["multi-user.target", "a@b.service", "dev-sda\\x2d1.device"] {
            check_unit(good).unwrap();
        }
        for bad in [
            "",
            ".target",
            "multi-user",
            "a.b",
            "a b.target",
            "%i.target",
            "../x.target",
        ] {
            assert!(check_unit(bad).is_err(), "{bad}");
        }
    }
}
