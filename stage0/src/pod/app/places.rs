//! Where an app's volumes are, as it sees them. Pure.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use stage1_skim::pod::ExecPlan;

use super::super::{programs, volume};

/// An app's volumes by name, and their paths.
pub struct Places {
    volumes: Vec<(String, String)>,
}

impl Places {
    /// The volumes at paths of the image which is at `root`.
    ///
    /// # Errors
    /// Where a path is not UTF-8.
    pub fn new(root: &Path, names: &[(String, PathBuf)]) -> Result<Self> {
        let volumes = names.iter().map(|(name, target)| {
            let path = programs::beneath(root, target);
            let path = path
                .to_str()
                .with_context(|| format!("the target of the volume {name} is not UTF-8"))?;
            Ok((name.clone(), path.to_string()))
        });
        Ok(Self {
            volumes: volumes.collect::<Result<_>>()?,
        })
    }

    /// The variables that tell the app.
    pub fn variables(&self) -> Vec<(String, String)> {
        let volumes = self.volumes.iter();
        volumes
            .map(|(name, path)| (volume::variable(name), path.clone()))
            .collect()
    }

    /// `text`, every `{volume:NAME}` in it replaced by the volume's path.
    fn fill_in(&self, text: &str) -> Result<String> {
        volume::fill_in(text, &self.volumes)
    }

    /// A command line, its arguments filled in.
    ///
    /// # Errors
    /// Where one names a volume that the app has not.
    pub fn fill_in_command(&self, mut command: ExecPlan) -> Result<ExecPlan> {
        for argument in command.argv.iter_mut().skip(1) {
            *argument = self.fill_in(argument)?;
        }
        Ok(command)
    }

    /// Words, filled in.
    ///
    /// # Errors
    /// Where one names a volume that the app has not.
    pub fn fill_in_words(&self, words: &[String]) -> Result<Vec<String>> {
        words.iter().map(|word| self.fill_in(word)).collect()
    }

    /// Variables, their values filled in.
    ///
    /// # Errors
    /// Where one names a volume that the app has not.
    pub fn fill_in_variables(
        &self,
        variables: &[(String, String)],
    ) -> Result<Vec<(String, String)>> {
        variables
            .iter()
            .map(|(name, value)| {
                let value = self.fill_in(value);
                let value = value.with_context(|| format!("environment variable {name:?}"))?;
                Ok((name.clone(), value))
            })
            .collect()
    }
}
