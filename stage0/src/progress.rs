//! What is told of long work while it goes on. What it looks like is for the command to say.

/// Told of work that begins.
pub trait Progress: Sync {
    /// Work on `what` begins; it goes through `bytes` bytes, where that is known.
    fn start(&self, what: &str, bytes: Option<u64>) -> Box<dyn Bar>;
}

/// Told how one piece of work goes on. It has ended when this is dropped.
pub trait Bar: Send + Sync {
    /// So many more bytes are done.
    fn advance(&self, bytes: u64);

    /// All is done: without this, the work was given up.
    fn finish(&self);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: &str, _: Option<u64>) -> Box<dyn Bar> {
        Box::new(Self)
    }
}

impl Bar for Silent {
    fn advance(&self, _: u64) {}

    fn finish(&self) {}
}
