//! `[Pod]`: what holds for the pod as a whole. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::app::check_absolute;
use super::fault::Fault;
use super::grammar;
use super::keys::{self, Kind};
use super::lines::Assignment;
use super::span;
use crate::commands::app_flags::AppFlags;
use crate::commands::image_flags::ImageFlags;

/// Most versions that are kept.
const VERSIONS_MAX: u32 = 100;

/// What holds for the pod as a whole.
#[derive(Clone, Debug)]
pub struct PodSection {
    /// Flags of all apps.
    pub common: AppFlags,
    /// How images are fetched.
    pub images: ImageFlags,
    /// The pod's annotations.
    pub annotations: BTreeMap<String, String>,
    /// Whether the generator makes a service of the file.
    pub generate: bool,
    /// Whether the pod is updated by itself.
    pub auto_update: bool,
    /// How many versions are kept.
    pub keep_versions: u32,
    /// How long an updated pod may take to be ready; `None` is without end.
    pub update_timeout: Option<Duration>,
    /// How long an updated pod must run, once it is ready.
    pub update_settle: Duration,
}

/// Keys that stand for a flag of all apps.
const COMMON: [(&str, &str); 4] = [
    ("Volume", "volume"),
    ("Mount", "mount"),
    ("Environment", "set-env"),
    ("EnvironmentFile", "set-env-file"),
];

/// Keys that stand for a flag of the fetching of images.
const IMAGES: [(&str, &str, Kind); 3] = [
    ("InsecureOptions", "insecure-options", Kind::Joined),
    ("MaxImageSize", "max-image-size", Kind::Single),
    ("MaxImageEntries", "max-image-entries", Kind::Single),
];

/// Reads the section. What is wrong is added to `faults`.
pub fn section(lines: &[Assignment], faults: &mut Vec<Fault>) -> PodSection {
    for line in lines {
        if !keys::POD.iter().any(|(key, ..)| *key == line.key) {
            faults.push(line.fault(keys::unknown_in_pod(&line.key)));
        }
    }
    let (common, annotations) = common(lines, faults);
    let timeout = one(lines, "UpdateTimeoutSec", faults, |text| {
        span::parse(text).map_err(|error| format!("{error:#}"))
    });
    let settle = one(lines, "UpdateSettleSec", faults, |text| {
        span::parse_finite(text).map_err(|error| format!("{error:#}"))
    });
    let versions = one(lines, "KeepVersions", faults, |text| {
        let number = text
            .parse()
            .ok()
            .filter(|number| (1..=VERSIONS_MAX).contains(number));
        let shown = text.escape_debug();
        number.ok_or_else(|| format!("`{shown}` is no number from 1 to {VERSIONS_MAX}"))
    });
    PodSection {
        common,
        images: images(lines, faults),
        annotations,
        generate: switch(lines, "Generate", faults).unwrap_or(true),
        auto_update: switch(lines, "AutoUpdate", faults).unwrap_or(false),
        keep_versions: versions.unwrap_or(3),
        update_timeout: timeout.unwrap_or(Some(Duration::from_secs(90))),
        update_settle: settle.unwrap_or(Duration::from_secs(5)),
    }
}

fn common(lines: &[Assignment], faults: &mut Vec<Fault>) -> (AppFlags, BTreeMap<String, String>) {
    let mut words = Vec::new();
    for (key, flag) in COMMON.into_iter().chain([("Annotation", "annotation")]) {
        let value = grammar::value(lines, key, Kind::List, faults);
        if key == "EnvironmentFile" {
            check_absolute(&value, faults);
        }
        let check = |words: &[String]| grammar::app_flags(words).map(drop);
        words.extend(grammar::flag_words(flag, Kind::List, &value, check, faults));
    }
    // Each word was parsed by itself, and they do not exclude one another.
    let mut flags = grammar::app_flags(&words).unwrap_or_default();
    let annotations = std::mem::take(&mut flags.annotation);
    (flags, annotations.into_iter().collect())
}

fn images(lines: &[Assignment], faults: &mut Vec<Fault>) -> ImageFlags {
    let mut words = Vec::new();
    for (key, flag, kind) in IMAGES {
        let value = grammar::value(lines, key, kind, faults);
        let check = |words: &[String]| grammar::image_flags(words).map(drop);
        words.extend(grammar::flag_words(flag, kind, &value, check, faults));
    }
    // A service has nobody to show the progress to.
    words.push("--quiet".to_string());
    match grammar::image_flags(&words) {
        Ok(flags) => flags,
        Err(what) => unreachable!("each was parsed by itself: {what}"),
    }
}

/// The value of a key of one word.
fn one<T>(
    lines: &[Assignment],
    key: &str,
    faults: &mut Vec<Fault>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<T> {
    // A span of time has blanks in it, with quotes and without.
    let value = grammar::value(lines, key, Kind::Single, &mut Vec::new());
    let line = value.last.filter(|line| !line.value.is_empty())?;
    let text = match &value.words[..] {
        [(word, at)] if std::ptr::eq(*at, line) => word.as_str(),
        _ => line.value.as_str(),
    };
    parse(text)
        .map_err(|what| faults.push(line.fault(what)))
        .ok()
}

fn switch(lines: &[Assignment], key: &str, faults: &mut Vec<Fault>) -> Option<bool> {
    one(lines, key, faults, |text| {
        grammar::boolean(text).ok_or_else(|| grammar::not_boolean(text))
    })
}
