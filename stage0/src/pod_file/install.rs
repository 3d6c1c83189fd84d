//! `[Install]`: by what the pod's service is started, as Quadlet has it. Pure.

use stage1_skim::directives;
use stage1_skim::unit_file;

use super::fault::Fault;
use super::keys;
use super::lines::Assignment;
use super::name;

/// Most units of one key.
const UNITS_MAX: usize = 256;

/// By what a service is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Install {
    /// `WantedBy=`: units.
    pub wanted_by: Vec<String>,
    /// `RequiredBy=`: units.
    pub required_by: Vec<String>,
    /// `UpheldBy=`: units. systemd 252 does not know it.
    pub upheld_by: Vec<String>,
    /// `Alias=`: further names of the service.
    pub alias: Vec<String>,
}

impl Install {
    fn list(&mut self, key: &str) -> Option<&mut Vec<String>> {
        match key {
            "WantedBy" => Some(&mut self.wanted_by),
            "RequiredBy" => Some(&mut self.required_by),
            "UpheldBy" => Some(&mut self.upheld_by),
            "Alias" => Some(&mut self.alias),
            _ => None,
        }
    }

    /// Takes in one assignment.
    fn add(&mut self, key: &str, value: &str) -> Result<(), String> {
        let words = unit_file::split_words(value).map_err(|error| format!("{error:#}"))?;
        let Some(list) = self.list(key) else {
            return Err(refused(key));
        };
        if words.is_empty() {
            list.clear();
        }
        for word in words {
            name::check_unit(&word).map_err(|error| format!("{error:#}"))?;
            if key == "Alias" {
                check_alias(&word)?;
            }
            if list.len() >= UNITS_MAX {
                return Err(format!("there are over {UNITS_MAX} units"));
            }
            list.push(word);
        }
        Ok(())
    }
}

/// Reads the section. What is wrong is added to `faults`.
pub fn section(lines: &[Assignment], faults: &mut Vec<Fault>) -> Install {
    let mut install = Install::default();
    for line in lines {
        if let Err(what) = install.add(&line.key, &line.value) {
            faults.push(line.fault(what));
        }
    }
    install
}

/// What can be read of the section in a faulty text, so that its service fails where it would have
/// been started.
pub fn salvage<'a>(texts: impl Iterator<Item = &'a str>) -> Install {
    let mut install = Install::default();
    for (key, value) in texts.flat_map(|text| super::lines::salvage(text, "Install")) {
        // What is wrong is told elsewhere.
        let _ = install.add(&key, &value);
    }
    install
}

fn check_alias(alias: &str) -> Result<(), String> {
    let Some(stem) = alias.strip_suffix(".service") else {
        return Err(format!("`{alias}` does not end in .service"));
    };
    match name::is_reserved(stem) {
        true => Err(format!("`{alias}` is a service that the host needs")),
        false => Ok(()),
    }
}

fn refused(key: &str) -> String {
    match key {
        "Also" => "there is nothing to install: give the other units an [Install] of their own"
            .to_string(),
        "DefaultInstance" => "pods have no instances".to_string(),
        _ => match directives::known("Install").any(|known| known == key) {
            true => "a pod file has no use for it".to_string(),
            false => keys::unknown_directive("Install", key),
        },
    }
}
