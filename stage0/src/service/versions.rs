//! The versions of a service: pure.
//!
//! A version is an image for each app. One of them is current: starts run from its images, without
//! asking anybody. An update makes a new one, which is on trial until it has come up; then the
//! one before it is current again, or it stays.
//!
//! | what happens                         | current    | trial                 |
//! |--------------------------------------|------------|-----------------------|
//! | the new pod is prepared ([`Versions::stage`])  | the old one | staged        |
//! | right before the restart ([`Versions::switch`]) | the new one | switched to   |
//! | it came up ([`Versions::accept`])    | the new one | none                 |
//! | it did not ([`Versions::go_back`])   | the old one | none                 |
//!
//! Whoever is killed in between leaves the trial: the next start goes back, as nobody has seen the
//! new version come up; the next update sees for itself.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::image::id::ImageId;

/// Most versions that are read back, and kept.
pub const KEEP_MAX: usize = 100;

/// Most apps of a version.
const APPS_MAX: usize = 1024;

/// Why a version left by hand is not updated to again.
const ROLLED_BACK: &str = "it was rolled back from";

/// An app's image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// How the pod file called it when the version was made.
    pub reference: String,
    /// Which one that was.
    pub image: ImageId,
}

/// The images of a pod, by app.
pub type Pins = BTreeMap<String, Pin>;

/// How the pod file calls the images, by app.
pub type References = BTreeMap<String, String>;

/// Why there is a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// The pod file named other images than before at a start.
    Start,
    /// An update found other images under the same names.
    Update,
}

/// A version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its number: none is given twice.
    pub number: u64,
    /// When it was made, in seconds since 1970.
    pub time: u64,
    /// Why.
    pub why: Why,
    /// Its images.
    pub apps: Pins,
    /// Why it is not taken again without being asked for by hand: it did not come up, or was
    /// rolled back from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

/// The version that starts run from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// Its number.
    pub number: u64,
    /// How the pod file called the images when it became current. After a rollback that need not
    /// be what the version was made of.
    pub references: References,
}

/// A version that is not known to come up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Its number.
    pub number: u64,
    /// How the pod file calls its images.
    pub references: References,
    /// What was current before.
    pub before: Current,
    /// The UUID of the pod that is prepared for it.
    pub pod: String,
    /// Whether it is current already.
    pub switched: bool,
    /// Whether it was made for this trial, and is not known to anybody else.
    pub is_new: bool,
    /// Why its images were rejected before, where they are tried again by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

/// All versions of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The highest number that was given.
    last: u64,
    current: Option<Current>,
    /// In the order of their numbers.
    versions: Vec<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trial: Option<Trial>,
}

/// How images that an update found stand to the versions that there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidate<'a> {
    /// They are those of the current version.
    Current,
    /// They are those of a version that was rejected.
    Rejected(&'a Version),
    /// They are neither.
    New,
}

impl Versions {
    /// Parses what [`Versions::to_json`] wrote.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let versions: Self = serde_json::from_slice(json).context("it cannot be understood")?;
        let all = &versions.versions;
        ensure!(
            all.len() <= 2 * KEEP_MAX + 2,
            "it has too many versions ({})",
            all.len()
        );
        ensure!(
            all.is_sorted_by(|one, next| one.number < next.number),
            "its versions are in disorder"
        );
        ensure!(
            all.iter().all(|version| version.apps.len() <= APPS_MAX),
            "a version in it has over {APPS_MAX} apps"
        );
        let is_there = |number| versions.get(number).is_some();
        let current = versions.current.iter().map(|current| current.number);
        let trial = versions.trial.iter();
        let trial = trial.flat_map(|trial| [trial.number, trial.before.number]);
        let last = all.last().map_or(0, |last| last.number);
        ensure!(
            current.chain(trial).all(is_there) && last <= versions.last,
            "it speaks of a version that is not in it"
        );
        Ok(versions)
    }

    /// As JSON.
    ///
    /// # Errors
    /// Never, as far as is known.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(self)?)
    }

    /// All of them, in the order of their numbers.
    pub fn all(&self) -> &[Version] {
        &self.versions
    }

    /// The version of this number.
    pub fn get(&self, number: u64) -> Option<&Version> {
        self.versions
            .iter()
            .find(|version| version.number == number)
    }

    /// The one that starts run from.
    pub fn current(&self) -> Option<&Version> {
        self.get(self.current.as_ref()?.number)
    }

    /// The trial that is under way, or broke off.
    pub fn trial(&self) -> Option<&Trial> {
        self.trial.as_ref()
    }

    /// The image that a start takes for the app `name`, which the pod file calls `reference`:
    /// `None` where it calls it otherwise than before.
    pub fn pinned(&self, name: &str, reference: &str) -> Option<&ImageId> {
        let current = self.current.as_ref()?;
        let is_same = current.references.get(name)? == reference;
        let pin = self.get(current.number)?.apps.get(name)?;
        is_same.then_some(&pin.image)
    }

    /// Takes in which images a start has found; whether anything has changed. While a trial is
    /// under way nothing is: the update has the say then.
    pub fn started(&mut self, found: Pins, now: u64) -> bool {
        if self.trial.is_some() {
            return false;
        }
        let before = self.clone();
        self.set_current(found, Why::Start, now);
        *self != before
    }

    /// Makes these images the current version, untried: the service does not run. `keep` versions
    /// stay.
    pub fn make_current(&mut self, found: Pins, why: Why, now: u64, keep: usize) -> u64 {
        let number = self.set_current(found, why, now);
        self.trim(keep);
        number
    }

    fn set_current(&mut self, found: Pins, why: Why, now: u64) -> u64 {
        let references = references(&found);
        let number = match self.current() {
            Some(current) if is_same(&current.apps, &found) => current.number,
            _ => self.add(found, why, now),
        };
        self.current = Some(Current { number, references });
        number
    }

    /// How images that an update found stand to what there is.
    pub fn candidate(&self, found: &Pins) -> Candidate<'_> {
        let same = |version: &&Version| is_same(&version.apps, found);
        if self.current().as_ref().is_some_and(same) {
            return Candidate::Current;
        }
        let rejected = |version: &&Version| version.rejected.is_some();
        let mut versions = self.versions.iter().rev();
        match versions.find(|version| same(version) && rejected(version)) {
            Some(version) => Candidate::Rejected(version),
            None => Candidate::New,
        }
    }

    /// The version to roll back to: `number`, or the newest one before the current that was not
    /// rejected. It must have an image for every app of the pod file.
    ///
    /// # Errors
    /// Where there is none.
    pub fn rollback_target(&self, number: Option<u64>, file: &References) -> Result<&Version> {
        let current = self
            .current()
            .context("there is no version yet: it has never run")?;
        let target = match number {
            Some(number) => {
                let known: Vec<_> = self.versions.iter().map(|v| v.number.to_string()).collect();
                self.get(number).with_context(|| {
                    format!(
                        "there is no version {number}, only {} (skim rollback --list)",
                        known.join(", ")
                    )
                })?
            }
            None => {
                let older = |version: &&Version| {
                    version.number < current.number && version.rejected.is_none()
                };
                self.versions.iter().rev().find(older).with_context(|| {
                    format!(
                        "there is no version before {} (skim rollback --list; KeepVersions= says how many are kept)",
                        current.number
                    )
                })?
            }
        };
        ensure!(
            target.number != current.number,
            "version {} is the current one",
            target.number
        );
        if let Some(app) = file.keys().find(|app| !target.apps.contains_key(*app)) {
            bail!(
                "version {} has no image for the app {app}, which the pod file has now",
                target.number
            );
        }
        Ok(target)
    }

    /// Stages an update: a new version, which the pod `pod` is prepared of.
    ///
    /// # Errors
    /// Where there is no current version, or a trial is under way.
    pub fn stage(&mut self, found: Pins, pod: &str, now: u64) -> Result<u64> {
        let references = references(&found);
        ensure!(self.trial.is_none(), "another version is on trial already");
        // By hand it is tried again, and known anew.
        let again =
            |version: &mut Version| version.rejected.is_some() && is_same(&version.apps, &found);
        let rejected = self.versions.extract_if(.., again).last();
        let number = self.add(found, Why::Update, now);
        self.stage_version(number, references, pod, true)?;
        if let Some(trial) = &mut self.trial {
            trial.rejected = rejected.and_then(|version| version.rejected);
        }
        Ok(number)
    }

    /// Stages a rollback to a version that is there.
    ///
    /// # Errors
    /// As [`Versions::stage`].
    pub fn stage_known(&mut self, number: u64, file: References, pod: &str) -> Result<()> {
        ensure!(self.get(number).is_some(), "version {number} is gone");
        self.stage_version(number, file, pod, false)
    }

    fn stage_version(
        &mut self,
        number: u64,
        references: References,
        pod: &str,
        is_new: bool,
    ) -> Result<()> {
        ensure!(self.trial.is_none(), "another version is on trial already");
        let before = self.current.clone().context("there is no version yet")?;
        self.trial = Some(Trial {
            number,
            references,
            before,
            pod: pod.to_owned(),
            switched: false,
            is_new,
            rejected: None,
        });
        Ok(())
    }

    /// Makes the version on trial the current one.
    ///
    /// # Errors
    /// Where there is none.
    pub fn switch(&mut self) -> Result<()> {
        let trial = self.trial.as_mut().context("no version is on trial")?;
        trial.switched = true;
        self.current = Some(Current {
            number: trial.number,
            references: trial.references.clone(),
        });
        Ok(())
    }

    /// Ends the trial: the version has come up. `keep` versions stay.
    ///
    /// # Errors
    /// Where there is none that was switched to.
    pub fn accept(&mut self, keep: usize) -> Result<()> {
        let trial = self.trial.take().context("no version is on trial")?;
        ensure!(trial.switched, "the version on trial was not switched to");
        for version in &mut self.versions {
            if version.number == trial.number {
                version.rejected = None;
            } else if version.number == trial.before.number && trial.number < version.number {
                version.rejected = Some(ROLLED_BACK.to_owned());
            }
        }
        self.trim(keep);
        Ok(())
    }

    /// Ends the trial: what was current before is so again. The version is rejected for `reason`;
    /// where there is none, it was broken off, and no more is known of it than before.
    ///
    /// Returns the version's number, `None` where there was no trial.
    pub fn go_back(&mut self, reason: Option<&str>, keep: usize) -> Option<u64> {
        let trial = self.trial.take()?;
        self.current = Some(trial.before);
        match reason.or(trial.rejected.as_deref()) {
            Some(reason) => {
                let rejected = |version: &&mut Version| version.number == trial.number;
                if let Some(version) = self.versions.iter_mut().find(rejected) {
                    version.rejected = Some(reason.to_owned());
                }
            }
            None if trial.is_new => self
                .versions
                .retain(|version| version.number != trial.number),
            None => (),
        }
        self.trim(keep);
        Some(trial.number)
    }

    /// Drops old versions: what stays is the current one, the newest others that were not
    /// rejected, `keep` in all, and the newest that was, so that it is known.
    pub fn trim(&mut self, keep: usize) {
        if self.trial.is_some() {
            return;
        }
        let current = self.current.as_ref().map(|current| current.number);
        let (mut good, mut rejected) = (keep.clamp(1, KEEP_MAX) - 1, 1);
        let mut kept: Vec<_> = std::mem::take(&mut self.versions)
            .into_iter()
            .rev()
            .filter(|version| {
                let left = match version.rejected {
                    _ if Some(version.number) == current => return true,
                    None => &mut good,
                    Some(_) => &mut rejected,
                };
                let stays = *left > 0;
                *left = left.saturating_sub(1);
                stays
            })
            .collect();
        kept.reverse();
        self.versions = kept;
    }

    /// The images that are needed, each with a version that needs it.
    pub fn images(&self) -> impl Iterator<Item = (u64, &ImageId)> {
        self.versions.iter().flat_map(|version| {
            let pins = version.apps.values();
            pins.map(move |pin| (version.number, &pin.image))
        })
    }

    fn add(&mut self, apps: Pins, why: Why, now: u64) -> u64 {
        self.last = self.last.saturating_add(1);
        self.versions.push(Version {
            number: self.last,
            time: now,
            why,
            apps,
            rejected: None,
        });
        self.last
    }
}

/// How the pod file calls these images.
pub fn references(pins: &Pins) -> References {
    let pins = pins.iter();
    pins.map(|(app, pin)| (app.clone(), pin.reference.clone()))
        .collect()
}

/// Whether the apps and their images are the same, however they are called.
fn is_same(one: &Pins, other: &Pins) -> bool {
    let apps = |pins: &Pins| -> Vec<_> {
        let pins = pins.iter();
        pins.map(|(app, pin)| (app.clone(), pin.image.clone()))
            .collect()
    };
    apps(one) == apps(other)
}

#[cfg(test)]
#[path = "versions_tests.rs"]
mod tests;
