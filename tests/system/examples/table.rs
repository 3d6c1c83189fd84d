//! What a row of the tables says.

use super::world::World;
use crate::support::command::Outcome;
use crate::support::terminal::Step;

/// An example: what must be there before, how it is run, and what must be true after.
pub(super) struct Row {
    /// The example, as the documents show it.
    pub(super) text: &'static str,
    pub(super) needs: &'static [Need],
    pub(super) how: How,
    pub(super) then: fn(&World, &Outcome),
}

/// A row.
pub(super) const fn row(
    text: &'static str,
    needs: &'static [Need],
    how: How,
    then: fn(&World, &Outcome),
) -> Row {
    Row {
        text,
        needs,
        how,
        then,
    }
}

/// What an example finds. Of pods there are no others than those that it needs; the name is what
/// the example has for a UUID or an ID.
pub(super) enum Need {
    /// A pod of these images that runs.
    Running(&'static str, &'static [&'static str]),
    /// One that was stopped.
    Exited(&'static str, &'static [&'static str]),
    /// One that was prepared.
    Prepared(&'static str, &'static [&'static str]),
    /// An image in the store.
    Stored(&'static str),
    /// An image in the store, and what its ID is called.
    Id(&'static str, &'static str),
    /// The pod's UUID in the file that the examples read.
    UuidFile(&'static str),
    /// A directory.
    Directory(&'static str),
    /// No file of this name, as the example makes it.
    Absent(&'static str),
    /// What this script does in the example's directory.
    Does(&'static str),
    /// A key.
    Key,
}

impl Need {
    /// The pod's name, its state, its images.
    pub(super) fn pod(&self) -> Option<(&'static str, &'static str, &'static [&'static str])> {
        match *self {
            Self::Running(name, images) => Some((name, "running", images)),
            Self::Exited(name, images) => Some((name, "exited", images)),
            Self::Prepared(name, images) => Some((name, "prepared", images)),
            _ => None,
        }
    }
}

/// How an example is run.
pub(super) enum How {
    /// To its end, with this exit code.
    Ends(i32),
    /// To its end, with this on its standard input.
    Reads(&'static str),
    /// On a terminal.
    Typed(&'static [Step<'static>]),
    /// Until it has printed this; then it gets SIGINT.
    Says(&'static str),
    /// Not here, for this reason.
    Elsewhere(&'static str),
}

/// It succeeds: that is all that can be seen.
pub(super) const SUCCEEDS: How = How::Ends(0);
