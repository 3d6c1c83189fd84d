//! The `#!` line of scripts, as the kernel reads it (fs/binfmt_script.c).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write, copy};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{Mode, OFlags, openat};

/// How much of the file the kernel looks at (BINPRM_BUF_SIZE).
pub(super) const HEAD: usize = 256;

/// The first line of a script.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shebang<'a> {
    /// The line, without its newline.
    pub(super) line: &'a [u8],
    /// Whether a newline ends it; if not, the file does.
    has_newline: bool,
    /// Where the interpreter's path is in the line.
    interpreter: Range<usize>,
}

/// Why a line cannot be rewritten.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The line would be longer than what the kernel reads.
    TooLong,
    /// The new path holds a byte that ends it.
    Blank,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong => write!(f, "its #! line would exceed the kernel's {HEAD} bytes"),
            Self::Blank => f.write_str("a #! line cannot name a path with blanks"),
        }
    }
}

impl<'a> Shebang<'a> {
    /// Parses the first [`HEAD`] bytes of a file, or all there are. `None`: the kernel would not
    /// run it as a script.
    pub(super) fn parse(head: &'a [u8]) -> Option<Self> {
        let head = &head[..head.len().min(HEAD)];
        let newline = head.iter().position(|&byte| byte == b'\n');
        let line = &head[..newline.unwrap_or(head.len())];
        let text = line.strip_prefix(b"#!")?;
        let start = 2 + text.iter().position(|byte| !is_blank(byte))?;
        let ends = |byte: &u8| is_blank(byte) || *byte == 0;
        let end = match line[start..].iter().position(ends) {
            Some(length) => start + length,
            // Cut off by the end of the buffer, not of the line.
            None if newline.is_none() && head.len() == HEAD => return None,
            None => line.len(),
        };
        (start < end).then_some(Self {
            line,
            has_newline: newline.is_some(),
            interpreter: start..end,
        })
    }

    /// The interpreter's path.
    pub(super) fn interpreter(&self) -> &'a [u8] {
        &self.line[self.interpreter.clone()]
    }

    /// The line with another interpreter.
    pub(super) fn with_interpreter(&self, path: &[u8]) -> Result<Vec<u8>, Refusal> {
        if path
            .iter()
            .any(|byte| is_blank(byte) || matches!(byte, b'\n' | 0))
        {
            return Err(Refusal::Blank);
        }
        let Range { start, end } = self.interpreter;
        let line = [&self.line[..start], path, &self.line[end..]].concat();
        // One byte for the newline, or for the NUL that the kernel finds in its place. A line
        // that did not fit before has lost its end already.
        let cut = !self.has_newline && self.line.len() == HEAD;
        if cut || line.len() + 1 > HEAD {
            Err(Refusal::TooLong)
        } else {
            Ok(line)
        }
    }
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Replaces the first `old_len` bytes of `script` (open for reading and writing) by `line`, in
/// place: the inode may have more names. The new content is first made whole, in an unnamed file
/// in `dir`.
pub(super) fn replace_head(
    script: &mut File,
    dir: impl std::os::fd::AsFd,
    old_len: u64,
    line: &[u8],
) -> std::io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mut whole = File::from(openat(dir, c".", flags, Mode::RUSR | Mode::WUSR)?);
    whole.write_all(line)?;
    script.seek(SeekFrom::Start(old_len))?;
    let rest = copy(script, &mut whole)?;
    let len = line.len() as u64 + rest;
    whole.seek(SeekFrom::Start(0))?;
    script.seek(SeekFrom::Start(0))?;
    let copied = copy(&mut whole.take(len), script)?;
    if copied != len {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    script.set_len(len)
}

/// The first bytes of a file: [`HEAD`], or as many as there are.
pub(super) fn read_head(file: &File) -> std::io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD];
    let mut done = 0;
    while done < HEAD {
        match file.read_at(&mut head[done..], done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(done);
    Ok(head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn interpreter(head: &[u8]) -> Option<&[u8]> {
        Some(Shebang::parse(head)?.interpreter())
    }

    #[test]
    fn finds_the_interpreter_as_the_kernel_does() {
        for (head, expected) in [
            (&b"#!/bin/sh\necho\n"[..], Some(&b"/bin/sh"[..])),
            (b"#! \t/bin/sh -e x \n", Some(b"/bin/sh")),
            (b"#!/bin/sh", Some(b"/bin/sh")),
            (b"#!/bin/sh\0x", Some(b"/bin/sh")),
            (b"#!\n", None),
            (b"#!  ", None),
            (b"#", None),
            (b"x#!/bin/sh\n", None),
        ] {
            assert_eq!(interpreter(head), expected, "{}", head.escape_ascii());
        }
        let cut = [b"#!/", &[b'x'; HEAD][..]].concat();
        assert_eq!(interpreter(&cut), None);
    }

    #[test]
    fn keeps_blanks_and_arguments() {
        for (head, expected) in [
            (&b"#!/bin/sh\nrest"[..], &b"#!/r/sh"[..]),
            (b"#! /usr/bin/env -S a b \n", b"#! /r/sh -S a b "),
            (b"#!/bin/sh", b"#!/r/sh"),
        ] {
            assert_eq!(
                Shebang::parse(head)
                    .unwrap()
                    .with_interpreter(b"/r/sh")
                    .unwrap(),
                expected
            );
        }
    }

    #[test]
    fn refuses_what_the_kernel_would_cut_off() {
        let path = |length: usize| [b"/", &vec![b'x'; length - 1][..]].concat();
        let shebang = Shebang::parse(b"#!/bin/sh\n").unwrap();
        assert_eq!(shebang.with_interpreter(&path(253)).unwrap().len(), 255);
        assert_eq!(shebang.with_interpreter(&path(254)), Err(Refusal::TooLong));
        assert_eq!(shebang.with_interpreter(b"/a b"), Err(Refusal::Blank));
        let long = [b"#!/bin/sh ", &[b'x'; HEAD][..]].concat();
        let long = Shebang::parse(&long).unwrap();
        assert_eq!(long.with_interpreter(b"/s"), Err(Refusal::TooLong));
    }

    #[test]
    fn replaces_the_head_and_keeps_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let body = vec![7; 300_000];
        for line in [&b"#!/s"[..], b"#!/much/longer/than/before"] {
            let path = dir.path().join("script");
            std::fs::write(&path, [b"#!/bin/sh\n", &body[..]].concat()).unwrap();
            let mut script = File::options().read(true).write(true).open(&path).unwrap();
            replace_head(&mut script, File::open(dir.path()).unwrap(), 9, line).unwrap();
            assert!(std::fs::read(&path).unwrap() == [line, b"\n", &body].concat());
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    proptest! {
        #[test]
        fn a_rewritten_line_parses_to_the_new_interpreter(
            head in proptest::collection::vec(any::<u8>(), 0..300),
            path in "/[a-z/]{0,280}",
        ) {
            let head = [b"#!", &head[..]].concat();
            let Some(shebang) = Shebang::parse(&head) else { return Ok(()) };
            let Ok(line) = shebang.with_interpreter(path.as_bytes()) else { return Ok(()) };
            let end = if shebang.has_newline { &b"\n"[..] } else { b"" };
            let line = [&line, end].concat();
            prop_assert_eq!(interpreter(&line), Some(path.as_bytes()));
        }
    }
}
