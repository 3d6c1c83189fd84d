//! Flags of the verbs that fetch images.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::progress::Bars;
use crate::fetch::{Fetcher, PullPolicy};
use crate::host::Host;
use crate::image::limits::Limits;
use crate::progress::{Progress, Silent};
use crate::registry::options::NetworkOptions;
use crate::store::{Import, Store};
use crate::trust::Trust;

/// How images are fetched.
#[derive(Args, Clone, Debug)]
pub struct ImageFlags {
    /// Say nothing of the progress
    #[arg(long, short)]
    pub quiet: bool,
    /// When to ask the network for docker:// and https:// [default: new; of fetch: update]
    #[arg(long, value_enum, value_name = "POLICY")]
    pub pull_policy: Option<PullPolicy>,
    /// What to do without; several are separated by commas
    #[arg(
        long,
        value_enum,
        value_name = "OPTION,…",
        value_delimiter = ',',
        default_value = "none"
    )]
    pub insecure_options: Vec<InsecureOption>,
    /// The signature of an appc image [default: IMAGE.asc beside it, where there is one]
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// Refuse images that are larger when uncompressed, in bytes or with K, M, G, T
    #[arg(long, value_name = "BYTES", value_parser = size, default_value = "64G")]
    pub max_image_size: u64,
    /// Refuse images with more files
    #[arg(long, value_name = "N", default_value_t = Limits::default().entries)]
    pub max_image_entries: u64,
}

/// Whether images may be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetching {
    /// Yes; by this policy, unless the user gives another one.
    AsNeeded(PullPolicy),
    /// No: they must be in the store, which is not changed.
    Never,
}

/// What to do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InsecureOption {
    /// Nothing.
    None,
    /// Signatures, and what the policy asks for.
    Image,
    /// Checks of certificates.
    Tls,
    /// Encryption, where a server has none.
    Http,
    /// All of these.
    AllFetch,
    /// As all-fetch.
    #[value(hide = true)]
    All,
}

impl ImageFlags {
    /// Fetches with these flags into `store`.
    ///
    /// # Errors
    /// Where the policy cannot be read.
    pub fn with_fetcher<T>(
        &self,
        host: &Host,
        store: &Store,
        fetching: Fetching,
        work: impl FnOnce(&Fetcher<'_>) -> Result<T>,
    ) -> Result<T> {
        let bars = Bars::new();
        let progress: &dyn Progress = if self.quiet { &Silent } else { &bars };
        let trust = Trust::open(
            &host.config,
            self.without(InsecureOption::Image),
            SystemTime::now(),
        )?;
        let fetcher = Fetcher {
            store,
            trust: &trust,
            import: Import {
                limits: Limits {
                    expanded_bytes: self.max_image_size,
                    entries: self.max_image_entries,
                    ..Limits::default()
                },
                progress,
            },
            pull: match fetching {
                Fetching::AsNeeded(default) => self.pull_policy.unwrap_or(default),
                Fetching::Never => PullPolicy::Never,
            },
            only_known: fetching == Fetching::Never,
            network: NetworkOptions {
                tls_verify: !self.without(InsecureOption::Tls),
                allow_http: self.without(InsecureOption::Http),
                ..NetworkOptions::default()
            },
            credentials: host.credentials(),
            signature: self.signature.clone(),
        };
        work(&fetcher)
    }

    fn without(&self, option: InsecureOption) -> bool {
        use InsecureOption::{All, AllFetch};
        let given = &self.insecure_options;
        given.contains(&option) || given.contains(&AllFetch) || given.contains(&All)
    }
}

/// A number of bytes: `1024`, `64M`, `2G`.
fn size(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.char_indices().next_back() {
        Some((at, 'K' | 'k')) => (&text[..at], 1 << 10),
        Some((at, 'M')) => (&text[..at], 1 << 20),
        Some((at, 'G')) => (&text[..at], 1 << 30),
        Some((at, 'T')) => (&text[..at], 1 << 40),
        _ => (text, 1_u64),
    };
    let number = digits.parse::<u64>().ok();
    number
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| format!("`{text}` is no number of bytes, such as 512M or 64G"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("7", 7),
            ("64G", 64 << 30),
            ("2k", 2048),
            ("1M", 1 << 20),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "G", "-1", "1.5G", "9999999999T", "1KB", "ä"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
