//! What relocation did to an image, for the user to see.

use serde::{Deserialize, Serialize};

/// The most changes, and the most files left, that a report lists one by one.
const MAX_LISTED: usize = 20_000;
/// The longest value that is shown whole.
const MAX_SHOWN: usize = 2048;

/// What was changed in an image's tree, and what would have needed a change but could not have it.
#[derive(Serialize, Deserialize, Default, Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The files that were changed, in the order of the walk.
    pub changes: Vec<Change>,
    /// The files that were left as they are although they needed a change.
    pub left: Vec<Left>,
}

/// One changed file.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The file's path in the image; what is no printable text in it is escaped.
    pub path: String,
    /// What was changed.
    #[serde(flatten)]
    pub what: What,
}

/// A kind of change.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum What {
    /// A dynamic executable or a shared library.
    Elf {
        /// The program interpreter (`PT_INTERP`), in executables.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interpreter: Option<FromTo>,
        /// The library search path: `DT_RPATH` or `DT_RUNPATH` before (empty: none), `DT_RPATH`
        /// now.
        rpath: FromTo,
    },
    /// The first line of a script.
    Shebang {
        /// The line before.
        from: String,
        /// The line now.
        to: String,
    },
    /// The target of a symbolic link.
    Symlink {
        /// The target before.
        from: String,
        /// The target now.
        to: String,
    },
}

/// A value before and after.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct FromTo {
    /// The value before.
    pub from: String,
    /// The value now.
    pub to: String,
}

/// A file that needed a change and was left byte for byte.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The file's path in the image; what is no printable text in it is escaped.
    pub path: String,
    /// Why it was left.
    pub reason: String,
}

/// Collects a [`Report`] of bounded size.
#[derive(Default)]
pub(super) struct Recorder {
    report: Report,
    unlisted_changes: usize,
    unlisted_left: usize,
}

impl Recorder {
    pub(super) fn changed(&mut self, path: &[u8], what: What) {
        if self.report.changes.len() < MAX_LISTED {
            self.report.changes.push(Change {
                path: show(path),
                what,
            });
        } else {
            self.unlisted_changes += 1;
        }
    }

    pub(super) fn left(&mut self, path: &[u8], reason: impl Into<String>) {
        if self.report.left.len() < MAX_LISTED {
            self.report.left.push(Left {
                path: show(path),
                reason: reason.into(),
            });
        } else {
            self.unlisted_left += 1;
        }
    }

    /// The report; what exceeded its bounds is counted in a last entry.
    pub(super) fn finish(mut self) -> Report {
        if self.unlisted_changes + self.unlisted_left > 0 {
            self.report.left.push(Left {
                path: "/".to_owned(),
                reason: format!(
                    "too many to list: {} more files changed, {} more left",
                    self.unlisted_changes, self.unlisted_left
                ),
            });
        }
        self.report
    }
}

impl FromTo {
    pub(super) fn new(from: &[u8], to: &[u8]) -> Self {
        Self {
            from: show(from),
            to: show(to),
        }
    }
}

/// Bytes of an image as printable text of bounded length.
pub(super) fn show(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(MAX_SHOWN)];
    let mut text = String::with_capacity(shown.len());
    for chunk in shown.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        text.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    if shown.len() < bytes.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_only_printable_text() {
        for (bytes, text) in [
            (&b"/usr/bin/x"[..], "/usr/bin/x"),
            (b"/a\xffb", "/a\\xffb"),
            (b"/a\nb\x1b[1m", "/a\\nb\\u{1b}[1m"),
            ("/grün".as_bytes(), "/grün"),
        ] {
            assert_eq!(show(bytes), text);
        }
        assert_eq!(show(&[b'a'; MAX_SHOWN + 1]).chars().count(), MAX_SHOWN + 1);
    }

    #[test]
    fn is_bounded_and_says_so() {
        let mut recorder = Recorder::default();
        for _ in 0..MAX_LISTED + 3 {
            recorder.left(b"/x", "odd");
        }
        let report = recorder.finish();
        assert_eq!(report.left.len(), MAX_LISTED + 1);
        let last = &report.left[MAX_LISTED];
        assert_eq!(
            last.reason,
            "too many to list: 0 more files changed, 3 more left"
        );
    }

    #[test]
    fn survives_json() {
        let mut recorder = Recorder::default();
        let rpath = FromTo::new(b"", b"/x/lib");
        recorder.changed(
            b"/bin/a",
            What::Elf {
                interpreter: None,
                rpath,
            },
        );
        recorder.changed(
            b"/bin/b",
            What::Symlink {
                from: "/a".into(),
                to: "a".into(),
            },
        );
        let report = recorder.finish();
        let json = serde_json::to_string(&report).unwrap();
        assert!(
            json.contains(r#"{"path":"/bin/b","kind":"symlink","from":"/a","to":"a"}"#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
}
