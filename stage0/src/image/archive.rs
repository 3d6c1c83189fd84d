//! A tar archive as a stream of bounded entries; compressed ones come through a [`pipeline`].
//!
//! Headers are decoded by the crate `tar`; the loop over them is here. That crate's own loop
//! holds PAX records, long names and sparse maps of any size in memory, and takes the end of a
//! line for the end of a PAX record, which cuts binary values (`security.capability`) short.
//! A size that two readers understand differently is the usual way to smuggle entries into
//! an archive, so whatever is ambiguous is refused here.

pub mod compression;
mod entry;
pub(super) mod header;
pub(super) mod number;
mod pax;
pub mod pipeline;
mod reader;
mod sparse;
pub mod writer;

pub use self::entry::{Entry, Kind, Metadata, Segment, Xattr};
pub use self::reader::ArchiveReader;
