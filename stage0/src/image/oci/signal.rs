//! Signals as images write them (image-spec, config.md, "StopSignal"), as systemd does
//! (systemd.kill(5), `KillSignal=`).

use anyhow::{Context, Result};

/// The first real-time signal: the C library keeps 32 and 33 for itself (signal(7)).
const RTMIN: u8 = 34;
/// The last one.
const RTMAX: u8 = 64;

/// Signals by number, from 1, on every architecture that skim runs on (signal(7)).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Other names of the same signals.
const ALIASES: [(&str, &str); 3] = [("IOT", "ABRT"), ("CLD", "CHLD"), ("POLL", "IO")];

/// A signal in systemd's spelling: `SIGTERM`, `SIGRTMIN+3`. Names may lack `SIG` and be in small
/// letters; numbers are signals, too.
///
/// # Errors
/// Where there is no such signal.
pub fn normalise(text: &str) -> Result<String> {
    find(text).with_context(|| {
        format!("{text:?} is no signal: SIGTERM, 15 and SIGRTMIN+3 are the ways to write one")
    })
}

fn find(text: &str) -> Option<String> {
    if let Ok(number) = text.parse::<u8>() {
        return name_of(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = |digits: &str| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u8>().ok()).flatten()
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let offset = match rest.strip_prefix('+') {
            Some(digits) => number(digits)?,
            None if rest.is_empty() => 0,
            None => return None,
        };
        return name_of(RTMIN.checked_add(offset)?);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        let offset = match rest.strip_prefix('-') {
            Some(digits) => number(digits)?,
            None if rest.is_empty() => 0,
            None => return None,
        };
        return name_of(RTMAX.checked_sub(offset)?).filter(|name| name.starts_with("SIGRT"));
    }
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    let name = alias.map_or(name, |(_, name)| name);
    NAMES.contains(&name).then(|| format!("SIG{name}"))
}

fn name_of(number: u8) -> Option<String> {
    match number {
        1..=31 => Some(format!("SIG{}", NAMES[usize::from(number) - 1])),
        RTMIN..=RTMAX => Some(match number - RTMIN {
            0 => "SIGRTMIN".to_owned(),
            offset => format!("SIGRTMIN+{offset}"),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (text, expected) in [
            ("SIGTERM", "SIGTERM"),
            ("term", "SIGTERM"),
            ("15", "SIGTERM"),
            ("9", "SIGKILL"),
            ("1", "SIGHUP"),
            ("31", "SIGSYS"),
            ("SIGCLD", "SIGCHLD"),
            ("34", "SIGRTMIN"),
            ("37", "SIGRTMIN+3"),
            ("SIGRTMIN", "SIGRTMIN"),
            ("SIGRTMIN+3", "SIGRTMIN+3"),
            ("rtmin+30", "SIGRTMIN+30"),
            ("SIGRTMAX", "SIGRTMIN+30"),
            ("SIGRTMAX-14", "SIGRTMIN+16"),
            ("SIGRTMAX-30", "SIGRTMIN"),
        ] {
            assert_eq!(normalise(text).unwrap(), expected, "{text}");
        }
        for bad in [
            "",
            "SIG",
            "0",
            "-1",
            "32",
            "33",
            "65",
            "256",
            "SIGFOO",
            "SIGTERM\n",
            "SIGRTMIN+31",
            "SIGRTMIN+",
            "SIGRTMIN-1",
            "SIGRTMIN++1",
            "SIGRTMAX-31",
            "SIGRTMAX-60",
            "SIGSIGTERM",
            "SIGRTMIN+999",
        ] {
            let text = crate::image::testing::message(normalise(bad));
            assert!(text.contains("is no signal"), "{text}");
        }
    }

    #[test]
    fn numbers_are_the_kernel_s() {
        use rustix::process::Signal;
        for (name, signal) in [
            ("SIGUSR1", Signal::USR1),
            ("SIGCHLD", Signal::CHILD),
            ("SIGWINCH", Signal::WINCH),
            ("SIGPWR", Signal::POWER),
        ] {
            assert_eq!(normalise(&signal.as_raw().to_string()).unwrap(), name);
        }
    }
}
