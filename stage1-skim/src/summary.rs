//! A pod in a line, for the status that `systemctl status` shows: pure.

use crate::progress::{AppState, Ended, Main};

/// Most apps that are named in one state.
const NAMES_MAX: usize = 12;

/// No line is longer, in bytes.
const LINE_MAX: usize = 500;

/// What becomes of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// It starts or runs.
    On,
    /// Its apps are being stopped, or have ended.
    Down,
}

/// Where the apps stand, each by its name: `running: containerd, docker`. The failure that came
/// first is told before all else.
pub fn line<'a>(
    apps: impl Iterator<Item = (&'a str, &'a AppState)>,
    failure: Option<(&str, &Ended)>,
    course: Course,
) -> String {
    let mut lists: [(&str, Vec<&str>); 4] = match course {
        Course::On => ["starting", "running", "listening", "ended"],
        Course::Down => ["stopping", "stopping", "stopping", "ended"],
    }
    .map(|heading| (heading, Vec::new()));
    for (name, state) in apps {
        let index = match (state, course) {
            (AppState::Ended(ended), _) if ended.failed => continue,
            (AppState::Ended(_), _) => 3,
            // One heading for all: in the order of the apps.
            (_, Course::Down) | (AppState::Starting, _) => 0,
            (AppState::Up, _) => 1,
            (AppState::Listening, _) => 2,
        };
        lists[index].1.push(name);
    }
    let failure = failure.map(|(name, ended)| format!("{name} failed: {}", cause(ended)));
    let lists = lists.iter().filter(|(_, names)| !names.is_empty());
    let lists = lists.map(|(heading, names)| format!("{heading}: {}", listed(names)));
    let parts: Vec<_> = failure.into_iter().chain(lists).collect();
    clean(&parts.join("; "))
}

fn cause(ended: &Ended) -> String {
    match ended.main {
        Main::Exited(code) if code != 0 => format!("exit code {code}"),
        Main::Killed(signal) => format!("signal {signal}"),
        _ => ended.result.clone(),
    }
}

fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMES_MAX)].join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A line of bounded length: names come from images, causes from wherever an error does.
pub fn clean(text: &str) -> String {
    let text = crate::logging::one_line(text);
    if text.len() <= LINE_MAX {
        return text;
    }
    let ends = text.char_indices().map(|(index, _)| index);
    let end = ends.take_while(|index| *index <= LINE_MAX).last();
    format!("{}…", &text[..end.unwrap_or_default()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(failed: bool, result: &str, main: Main) -> Ended {
        Ended {
            code: main.code(),
            failed,
            result: result.into(),
            main,
            was_up: true,
        }
    }

    #[test]
    fn a_pod_in_a_line() {
        use AppState::{Listening, Starting, Up};
        let well = AppState::Ended(ended(false, "success", Main::Exited(0)));
        let code = ended(true, "exit-code", Main::Exited(3));
        let killed = ended(true, "signal", Main::Killed(9));
        let late = ended(true, "timeout", Main::Never);
        let failed = AppState::Ended(code.clone());
        for (states, failure, course, says) in [
            (
                vec![&Starting, &Up],
                None,
                Course::On,
                "starting: a; running: b",
            ),
            (vec![&Up, &Up], None, Course::On, "running: a, b"),
            (
                vec![&Listening, &well],
                None,
                Course::On,
                "listening: a; ended: b",
            ),
            (
                vec![&well, &Up],
                None,
                Course::Down,
                "stopping: b; ended: a",
            ),
            (
                vec![&Up, &Starting, &Listening],
                None,
                Course::Down,
                "stopping: a, b, c",
            ),
            (vec![&well], None, Course::Down, "ended: a"),
            (
                vec![&failed, &Up],
                Some(("a", &code)),
                Course::Down,
                "a failed: exit code 3; stopping: b",
            ),
            (
                vec![&failed],
                Some(("a", &killed)),
                Course::Down,
                "a failed: signal 9",
            ),
            (
                vec![&failed],
                Some(("a", &late)),
                Course::Down,
                "a failed: timeout",
            ),
        ] {
            let apps = ["a", "b", "c"].into_iter().zip(states);
            assert_eq!(line(apps, failure, course), says);
        }
    }

    #[test]
    fn names_are_bounded_and_clean() {
        let many: Vec<_> = (0..15).map(|n| n.to_string()).collect();
        let apps = many.iter().map(|name| (name.as_str(), &AppState::Up));
        let text = line(apps, None, Course::On);
        assert!(text.ends_with("10, 11 and 3 more"), "{text}");
        let long = "ä".repeat(LINE_MAX);
        let text = line(
            [(long.as_str(), &AppState::Up)].into_iter(),
            None,
            Course::On,
        );
        assert!(text.len() <= LINE_MAX + "…".len() && text.ends_with('…'));
        let hostile = "a\nREADY=1\x1b";
        let text = line([(hostile, &AppState::Up)].into_iter(), None, Course::On);
        assert_eq!(text, "running: a\\nREADY=1\\u{1b}");
    }
}
