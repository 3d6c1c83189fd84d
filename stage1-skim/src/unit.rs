//! Unit text as data: a unit is a list of settings, serialised in one place.

use serde::{Deserialize, Serialize};

/// A section of a unit file that skim writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Section {
    /// `[Unit]`, systemd.unit(5).
    Unit,
    /// `[Service]`, systemd.service(5) and what it includes.
    Service,
    /// `[Slice]`, systemd.slice(5).
    Slice,
}

/// One assignment in a unit file.
///
/// `value` is unit text: whoever makes a `Setting` out of data quotes the data first (see
/// [`crate::escape`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The section it stands in.
    pub section: Section,
    /// The directive's name, such as `ExecStart`.
    pub key: String,
    /// The right-hand side, one line of unit text.
    pub value: String,
}
