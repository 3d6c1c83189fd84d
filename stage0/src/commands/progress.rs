//! Progress as people see it: a bar for each archive on a terminal, a line each elsewhere.
//!
//! All of it goes to standard error: standard output is for what was asked for.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use stage1_skim::stdio;

use crate::progress::{Bar, Progress};

/// How often a bar is drawn anew, so that its rate stays true where nothing arrives.
const TICK: Duration = Duration::from_millis(250);
/// What is smaller is done before anybody could wonder.
const WORTH_A_LINE: u64 = 16 << 20;

const WITH_TOTAL: &str =
    "{prefix:<16} {bar:30} {bytes:>10} / {total_bytes:<10} {bytes_per_sec:>12} {eta:>4} {msg}";
const WITHOUT_TOTAL: &str = "{prefix:<16} {spinner} {bytes:>10} {bytes_per_sec:>12} {msg}";

/// Bars, or lines where standard error is no terminal.
pub struct Bars {
    all: Option<MultiProgress>,
}

impl Bars {
    /// None yet.
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            all: terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr())),
        }
    }
}

impl Default for Bars {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Bars {
    fn start(&self, what: &str, bytes: Option<u64>) -> Box<dyn Bar> {
        match &self.all {
            Some(all) => Box::new(Drawn::new(all, what, bytes)),
            None => Box::new(Line {
                what: what.to_owned(),
                bytes,
            }),
        }
    }
}

/// A bar on a terminal; it goes when the work is done.
struct Drawn(ProgressBar);

impl Drawn {
    fn new(all: &MultiProgress, what: &str, bytes: Option<u64>) -> Self {
        let bar = all.add(match bytes {
            Some(bytes) => ProgressBar::new(bytes),
            None => ProgressBar::new_spinner(),
        });
        let template = match bytes {
            Some(_) => WITH_TOTAL,
            None => WITHOUT_TOTAL,
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(TICK);
        Self(bar)
    }
}

impl Bar for Drawn {
    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn finish(&self) {}
}

impl Drop for Drawn {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// One line when the work is done, for logs.
struct Line {
    what: String,
    bytes: Option<u64>,
}

impl Bar for Line {
    fn advance(&self, _: u64) {}

    fn finish(&self) {
        match self.bytes {
            Some(bytes) if bytes < WORTH_A_LINE => (),
            Some(bytes) => stdio::complain(&format!("skim: {}: {}", self.what, HumanBytes(bytes))),
            None => stdio::complain(&format!("skim: {}: done", self.what)),
        }
    }
}
