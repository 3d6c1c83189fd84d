//! Images over the network: from registries (OCI distribution-spec 1.1) and from addresses of
//! files.
//!
//! - [`options`]: what is trusted, how long is waited; [`credentials`]: who asks
//! - [`client`]: one HTTP client for all, and what outlasts failures; `error`: what they mean
//! - [`session`]: requests to a registry
//! - [`resolve`]: from a name to checked documents; `download`: blobs into a [`sink`]
//! - [`url`]: files by their addresses; [`version`]: which version of them there is
//!
//! All functions block. What is downloaded goes into files piece by piece and is resumed after
//! an interruption, a killed process included.

pub mod client;
pub mod credentials;
mod download;
mod error;
pub mod options;
pub mod resolve;
pub mod session;
pub mod sink;
pub mod url;
pub mod version;

pub use self::error::Damaged;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
