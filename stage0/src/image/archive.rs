//! A tar archive, plain or compressed, as a stream of bounded entries.
//!
//! Headers are decoded by the crate `tar`; the loop over them is here. That crate's own loop
//! holds PAX records, long names and sparse maps of any size in memory, and takes the end of a
//! line for the end of a PAX record, which cuts binary values (`security.capability`) short.
//! A size that two readers understand differently is the usual way to smuggle entries into
//! an archive, so whatever is ambiguous is refused here.

mod compression;
mod entry;
mod header;
mod pax;
mod reader;
mod sparse;
mod stream;

pub use self::entry::{Entry, Kind, Metadata, Segment, Xattr};
pub use self::reader::ArchiveReader;
pub use self::stream::Digest;
