//! What a signal does to an update: not before a version on trial is decided on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use stage1_skim::signals;

/// Whether this process was asked to end. It does so at once, but for where it would leave a
/// version on trial; there a second signal does.
pub struct Interrupt {
    is_critical: Arc<AtomicBool>,
    is_asked: Arc<AtomicBool>,
}

/// As long as it lasts, a signal does not end this process.
pub struct Critical<'a>(&'a Interrupt);

impl Interrupt {
    /// From now on signals are watched for.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn watch() -> Result<Self> {
        let is_critical = Arc::new(AtomicBool::new(false));
        let is_asked = Arc::new(AtomicBool::new(false));
        let (critical, asked) = (is_critical.clone(), is_asked.clone());
        signals::watch(move |signal| {
            if !critical.load(Ordering::SeqCst) || asked.swap(true, Ordering::SeqCst) {
                std::process::exit(128 + signal);
            }
        })?;
        Ok(Self {
            is_critical,
            is_asked,
        })
    }

    /// From now on a signal is only noted.
    pub fn critical(&self) -> Critical<'_> {
        self.is_critical.store(true, Ordering::SeqCst);
        Critical(self)
    }

    /// Whether it was.
    pub fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::SeqCst)
    }
}

impl Drop for Critical<'_> {
    fn drop(&mut self) {
        self.0.is_critical.store(false, Ordering::SeqCst);
    }
}
