//! The journal export format, as `journalctl --output=export` prints it
//! (systemd.io/JOURNAL_EXPORT_FORMATS).

use std::io::{BufRead, Read};

use anyhow::{Result, ensure};

/// No journal field that is asked for is larger, in bytes: journald splits longer lines.
const FIELD_MAX: u64 = 16 * 1024 * 1024;

/// One entry of the journal: the fields that were asked for, and some that journalctl adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// An entry of these fields.
    pub fn new(fields: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        Self {
            fields: fields.into_iter().collect(),
        }
    }

    /// The value of the field `name`, the first where there are several.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut fields = self.fields.iter();
        let field = fields.find(|(own, _)| own == name.as_bytes());
        field.map(|(_, value)| value.as_slice())
    }

    /// As [`Entry::get`], a number.
    pub fn number(&self, name: &str) -> Option<i32> {
        std::str::from_utf8(self.get(name)?).ok()?.parse().ok()
    }

    /// Cuts the values down to `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        for (_, value) in &mut self.fields {
            value.truncate(length);
            value.shrink_to_fit();
        }
    }

    /// Reads one entry: `NAME=value` lines, or for values with line ends `NAME`, a 64-bit
    /// little-endian length and the bytes; an empty line ends the entry. `None` at the end, or
    /// where the rest breaks off.
    ///
    /// # Errors
    /// Where a field is too large, or nothing can be read.
    pub fn read(input: &mut impl BufRead) -> Result<Option<Self>> {
        let mut entry = Self::default();
        loop {
            let mut line = Vec::new();
            input.take(FIELD_MAX).read_until(b'\n', &mut line)?;
            match line.pop() {
                None => return Ok(None),
                Some(b'\n') => (),
                Some(_) => return Ok(None),
            }
            if line.is_empty() {
                if !entry.fields.is_empty() {
                    return Ok(Some(entry));
                }
                continue;
            }
            let field = match line.iter().position(|byte| *byte == b'=') {
                Some(at) => {
                    let value = line.split_off(at + 1);
                    line.truncate(at);
                    (line, value)
                }
                None => (line, read_binary(input)?),
            };
            entry.fields.push(field);
        }
    }
}

fn read_binary(input: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    ensure!(
        length <= FIELD_MAX,
        "a field of {length} bytes in the journal"
    );
    let mut value = Vec::new();
    input.take(length + 1).read_to_end(&mut value)?;
    ensure!(
        value.len() as u64 == length + 1 && value.pop() == Some(b'\n'),
        "the journal's export breaks off"
    );
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_text_and_binary_fields() {
        let mut input: &[u8] = b"__CURSOR=x=1\nMESSAGE=a=b\nSKIM_APP=web\nERRNO=2\n\n\
            SKIM_APP=web\nMESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n\n\
            MESSAGE=cut off\n";
        let entry = Entry::read(&mut input).unwrap().unwrap();
        assert_eq!(entry.get("MESSAGE"), Some(&b"a=b"[..]));
        assert_eq!(entry.get("__CURSOR"), Some(&b"x=1"[..]));
        assert_eq!(
            (entry.number("ERRNO"), entry.number("NONE")),
            (Some(2), None)
        );
        let entry = Entry::read(&mut input).unwrap().unwrap();
        assert_eq!(entry.get("MESSAGE"), Some(&b"a\nb"[..]));
        assert_eq!(Entry::read(&mut input).unwrap(), None);
    }

    #[test]
    fn a_length_that_lies_is_an_error() {
        let mut input: &[u8] = b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xffa\n\n";
        assert!(Entry::read(&mut input).is_err());
        let mut input: &[u8] = b"MESSAGE\n\x09\0\0\0\0\0\0\0a\n";
        assert!(Entry::read(&mut input).is_err());
    }
}
