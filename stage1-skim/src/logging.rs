//! Where skim's own log lines go: to the journal when it runs under a unit, to standard error
//! otherwise. Both binaries use it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

use crate::journal::OBJECT_UNIT;
use crate::stdio;

/// Set once standard error is not the user's any more.
static DETACHED: AtomicBool = AtomicBool::new(false);

/// Set where a pod runs as a service of systemd.
static OF_UNIT: OnceLock<JournalLog> = OnceLock::new();

struct Logger {
    journal: Option<JournalLog>,
    under_unit: bool,
}

/// Installs the logger; `debug` lets debug lines through.
pub fn install(debug: bool) {
    let logger = Logger {
        journal: journal(),
        under_unit: connected_to_journal(),
    };
    // The libraries' own lines are of use to nobody but their developers.
    log::set_max_level(if debug {
        LevelFilter::Debug
    } else {
        LevelFilter::Info
    });
    if log::set_boxed_logger(Box::new(logger)).is_err() {
        // Installed already: the first one stays.
    }
}

/// From now on log lines that go to the journal are of the service `unit`, too, which runs this
/// process but does not hold it.
pub fn speak_for(unit: &str) {
    if let Some(journal) = journal() {
        let journal = journal.with_extra_fields([(OBJECT_UNIT, unit)]);
        if OF_UNIT.set(journal).is_err() {
            // Said already.
        }
    }
}

fn journal() -> Option<JournalLog> {
    let journal = JournalLog::empty().ok()?;
    Some(journal.with_syslog_identifier("skim".to_string()))
}

/// From now on log lines go to the journal, as standard error is let go of.
pub fn detach() {
    DETACHED.store(true, Ordering::Relaxed);
}

/// Prints a line that belongs to the one logged before it, and is in the journal anyway: to
/// standard error, unless log lines go to the journal.
pub fn detail(line: &str) {
    if !(DETACHED.load(Ordering::Relaxed) || connected_to_journal()) {
        stdio::complain(&one_line(line));
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        let target = metadata.target();
        target.starts_with("skim") || target.starts_with("stage1_skim")
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let to_journal = self.under_unit || DETACHED.load(Ordering::Relaxed);
        match OF_UNIT.get().or(self.journal.as_ref()) {
            Some(journal) if to_journal => journal.log(record),
            _ => {
                let text = one_line(&record.args().to_string());
                stdio::complain(&match record.level() {
                    Level::Info => format!("skim: {text}"),
                    Level::Warn => format!("skim: warning: {text}"),
                    level => format!("skim: {}: {text}", level.as_str().to_ascii_lowercase()),
                });
            }
        }
    }

    fn flush(&self) {}
}

/// What a terminal would act on is escaped, and what makes text look like other text: a message
/// may quote an image or an app.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() || is_direction(c) {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}

/// Separators of lines, and marks and overrides of the direction of writing (Unicode, UAX #9).
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        let line = "cannot use \"ä\\b\": it's damaged";
        assert_eq!(one_line(line), line);
        assert_eq!(one_line("a\n\u{1b}[2J\u{9b}b"), "a\\n\\u{1b}[2J\\u{9b}b");
        assert_eq!(one_line("a\u{202e}b"), "a\\u{202e}b");
    }
}
