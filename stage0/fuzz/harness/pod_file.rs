//! Pod files: the input is the whole file, the part after a line `---` a drop-in.

use std::path::Path;

use anyhow::{Context, Result};
use skim::generator::{self, Output};
use skim::pod_file::{PodFile, Text};
use stage1_skim::unit_file;

use super::{check_error, check_line};

/// Parses the file, and makes units of it, or one that tells what is wrong.
pub fn run(input: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(input).context("it is not UTF-8")?;
    let names = ["/etc/skim/web.skim", "/etc/skim/web.skim.d/a.conf"];
    let texts = text.splitn(2, "\n---\n").zip(names);
    let texts: Vec<_> = texts
        .map(|(text, path)| Text {
            path: path.into(),
            text: text.to_string(),
        })
        .collect();
    let skim = Path::new("/usr/bin/skim");
    match PodFile::parse("web", &texts) {
        Ok(file) => {
            let outputs = generator::outputs(&file, skim);
            check_error(&outputs);
            check(&outputs?);
            Ok(())
        }
        Err(faults) => {
            for fault in faults.list() {
                check_line(&fault.to_string());
            }
            check(&generator::faulty("web", &texts, &faults, skim)?);
            Err(faults.into())
        }
    }
}

/// What is written stays within the directory, and is read by systemd as it was meant: no value
/// brings a section or a setting of its own.
fn check(outputs: &[Output]) {
    for output in outputs {
        let path = Path::new(output.path());
        let parts = path.components().count();
        assert!(path.is_relative() && parts <= 2, "{path:?}");
        assert!(!output.path().contains(".."), "{path:?}");
        let Output::File(name, text) = output else {
            continue;
        };
        let lines = unit_file::lex(text).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let own = |key: &str| lines.iter().filter(|line| line.key == key).count();
        if name.ends_with(".service") {
            assert_eq!((own("ExecStart"), own("Type")), (1, 1), "{text}");
        } else {
            assert_eq!((own("Service"), own("Accept")), (1, 0), "{text}");
        }
        let sections = ["Unit", "Service", "Socket"];
        let known = |line: &unit_file::Line| sections.contains(&line.section.as_str());
        assert!(lines.iter().all(known), "{text}");
    }
}
