//! What is said of an update, to people and to scripts.

use anyhow::Result;
use serde::Serialize;
use stage1_skim::stdio;

use crate::image::id::ImageId;
use crate::service::images::Wanted;
use crate::service::switch::Outcome;
use crate::service::versions::Versions;

/// The exit code where a version did not come up, and the one before runs again.
pub const EXIT_WENT_BACK: u8 = 1;

/// The exit code where neither the version nor the one before comes up.
pub const EXIT_DOWN: u8 = 3;

/// What has become of a service, for scripts.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The service.
    pub name: String,
    /// What was done.
    pub result: Done,
    /// The version that is current now; `null` where there is none.
    pub version: Option<u64>,
    /// The version that was current before.
    pub before: Option<u64>,
    /// Why something was not done, or went wrong.
    pub reason: Option<String>,
    /// The apps.
    pub apps: Vec<AppReport>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// Nothing: it has the images that it should have.
    UpToDate,
    /// Nothing: it is not to be done unasked.
    Skipped,
    /// Nothing: it was only asked whether there is something to do, and there is.
    Available,
    /// The version runs.
    Switched,
    /// The version is what the next start takes.
    MadeCurrent,
    /// The version did not come up, and the one before runs again.
    WentBack,
    /// Neither comes up.
    Down,
    /// Nothing: something is wrong.
    Failed,
}

/// An app's image, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AppReport {
    /// The app.
    pub app: String,
    /// How the pod file calls its image.
    pub reference: String,
    /// The image that it has.
    pub current: Option<ImageId>,
    /// The image that it would have, or has now; `null` where that shows only once it is fetched.
    pub new: Option<ImageId>,
}

impl Report {
    /// Of a service of which no more is known.
    pub fn failed(name: &str, error: &anyhow::Error) -> Self {
        Self {
            name: name.to_owned(),
            result: Done::Failed,
            version: None,
            before: None,
            reason: Some(format!("{error:#}")),
            apps: Vec::new(),
        }
    }

    /// The exit code of a command that did this.
    pub fn code(&self) -> u8 {
        match self.result {
            Done::WentBack => EXIT_WENT_BACK,
            Done::Down => EXIT_DOWN,
            Done::Failed => stage1_skim::names::EXIT_ERROR,
            _ => 0,
        }
    }

    /// Takes in how a switch to `number` ended.
    pub fn conclude(&mut self, number: u64, outcome: &Outcome) {
        (self.result, self.version, self.reason) = match outcome {
            Outcome::Switched => (Done::Switched, Some(number), None),
            Outcome::Failed { failure, again, .. } => match again {
                None => (Done::WentBack, self.before, Some(failure.to_string())),
                Some(again) => (
                    Done::Down,
                    self.before,
                    Some(format!("{failure}; the version before: {again}")),
                ),
            },
        };
    }

    /// What is said of it, to people.
    pub fn tell(&self, quiet: bool) -> Result<()> {
        let name = &self.name;
        let reason = self.reason.as_deref().unwrap_or_default();
        let version = self.version.unwrap_or_default();
        match self.result {
            Done::Failed => log::error!("{name}: {reason}"),
            Done::WentBack => log::error!("{name}: version {version} runs again"),
            Done::Down => log::error!(
                "{name} IS DOWN: version {version} does not come up again, either: {reason}; see systemctl status and journalctl"
            ),
            Done::Skipped => log::info!("{name}: {reason}"),
            _ if quiet => (),
            Done::UpToDate => stdio::print(&format!("{name}: up to date (version {version})\n"))?,
            Done::Switched => stdio::print(&format!("{name}: version {version} runs\n"))?,
            Done::MadeCurrent => stdio::print(&format!(
                "{name} does not run: version {version} is what its next start takes\n"
            ))?,
            Done::Available => (),
        }
        Ok(())
    }
}

/// The exit code of several: the worst.
pub fn worst(reports: &[Report]) -> u8 {
    let badness = |code: &u8| match *code {
        EXIT_DOWN => 3,
        EXIT_WENT_BACK => 1,
        0 => 0,
        _ => 2,
    };
    let codes = reports.iter().map(Report::code);
    codes.max_by_key(badness).unwrap_or(0)
}

/// What each app has, and gets.
pub fn app_reports(
    versions: &Versions,
    wanted: &[Wanted],
    new: impl Fn(usize) -> Option<ImageId>,
) -> Vec<AppReport> {
    let current = |app: &str| Some(versions.current()?.apps.get(app)?.image.clone());
    let wanted = wanted.iter().enumerate();
    wanted
        .map(|(index, wanted)| AppReport {
            app: wanted.app.clone(),
            reference: wanted.reference.clone(),
            current: current(&wanted.app),
            new: new(index),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::judge::Failure;

    fn report(result: Done) -> Report {
        Report {
            result,
            ..Report::failed("web", &anyhow::anyhow!("no"))
        }
    }

    #[test]
    fn the_worst_counts() {
        use Done::{Down, Failed, Switched, UpToDate, WentBack};
        for (results, code) in [
            (vec![], 0),
            (vec![UpToDate, Switched], 0),
            (vec![WentBack, UpToDate], EXIT_WENT_BACK),
            (vec![WentBack, Failed, UpToDate], 254),
            (vec![Down, Failed, WentBack], EXIT_DOWN),
        ] {
            let reports: Vec<_> = results.iter().map(|result| report(*result)).collect();
            assert_eq!(worst(&reports), code, "{results:?}");
        }
    }

    #[test]
    fn a_failed_switch_names_both_reasons() {
        let mut report = report(Done::Failed);
        report.before = Some(3);
        let failed = |again: Option<&str>| Outcome::Failed {
            failure: Failure::Restarted,
            pod: String::new(),
            again: again.map(str::to_owned),
        };
        report.conclude(4, &failed(None));
        assert_eq!((report.result, report.version), (Done::WentBack, Some(3)));
        report.conclude(4, &failed(Some("never")));
        assert_eq!(report.result, Done::Down);
        assert!(report.reason.unwrap().ends_with("before: never"));
    }
}
