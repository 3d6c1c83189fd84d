//! PAX extended header records, `LENGTH KEY=VALUE\n`, read by their length.

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::Timespec;

use super::entry::Xattr;

/// Most extended attributes of one entry; each is compared with all that came before.
const MAX_XATTRS: usize = 1000;

/// What the records before an entry say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pax {
    /// `path`
    pub path: Option<Vec<u8>>,
    /// `linkpath`
    pub link_path: Option<Vec<u8>>,
    /// `size`
    pub size: Option<u64>,
    /// `uid`
    pub uid: Option<u64>,
    /// `gid`
    pub gid: Option<u64>,
    /// `mtime`
    pub mtime: Option<Timespec>,
    /// `SCHILY.xattr.*`
    pub xattrs: Vec<Xattr>,
}

impl Pax {
    /// Reads the records; unknown keys are ignored, as POSIX asks.
    pub fn parse(mut data: &[u8]) -> Result<Self> {
        let mut pax = Self::default();
        while !data.is_empty() {
            let (key, value, rest) = record(data).context("a PAX record is malformed")?;
            pax.apply(key, value)?;
            data = rest;
        }
        Ok(pax)
    }

    /// Takes one record; the last of a key counts, an empty value means none.
    fn apply(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let bytes = (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = bytes,
            b"linkpath" => self.link_path = bytes,
            b"size" => self.size = number(key, value)?,
            b"uid" => self.uid = number(key, value)?,
            b"gid" => self.gid = number(key, value)?,
            b"mtime" => self.mtime = time(value)?,
            _ if key.starts_with(b"GNU.sparse.") => bail!(
                "a sparse file in PAX format is not supported: build the archive with tar --format=gnu or without --sparse"
            ),
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.add_xattr(name, value)?;
                }
            }
        }
        Ok(())
    }

    fn add_xattr(&mut self, name: &[u8], value: &[u8]) -> Result<()> {
        self.xattrs.retain(|xattr| xattr.name != name);
        ensure!(
            self.xattrs.len() < MAX_XATTRS,
            "an entry has more than {MAX_XATTRS} extended attributes"
        );
        self.xattrs.push(Xattr {
            name: name.to_vec(),
            value: value.to_vec(),
        });
        Ok(())
    }
}

/// The first record's key and value, and what follows it.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&data[..blank])?).ok()?;
    let (record, rest) = data.split_at_checked(length)?;
    let body = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    (equals > 0).then(|| (&body[..equals], &body[equals + 1..], rest))
}

/// Decimal digits, and nothing else, as a number.
fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    plain
        .then(|| std::str::from_utf8(digits).ok()?.parse().ok())
        .flatten()
}

fn number(key: &[u8], value: &[u8]) -> Result<Option<u64>> {
    if value.is_empty() {
        return Ok(None);
    }
    let number = decimal(value).with_context(|| {
        format!(
            "the PAX record {:?} holds no number",
            key.escape_ascii().to_string()
        )
    })?;
    Ok(Some(number))
}

/// A time such as `1700000000.25` or `-1.5`; digits beyond nanoseconds are cut.
fn time(value: &[u8]) -> Result<Option<Timespec>> {
    if value.is_empty() {
        return Ok(None);
    }
    let parse = || {
        let (negative, digits) = match value.strip_prefix(b"-") {
            Some(digits) => (true, digits),
            None => (false, value),
        };
        let (whole, fraction) = match digits.iter().position(|byte| *byte == b'.') {
            Some(dot) => (&digits[..dot], &digits[dot + 1..]),
            None => (digits, &b""[..]),
        };
        let seconds = i64::try_from(decimal(whole)?).ok()?;
        let mut nanoseconds = 0;
        if !fraction.is_empty() {
            let kept = &fraction[..fraction.len().min(9)];
            let scale = 10i64.pow(9 - u32::try_from(kept.len()).ok()?);
            decimal(
                fraction
                    .get(9..)
                    .filter(|cut| !cut.is_empty())
                    .unwrap_or(b"0"),
            )?;
            nanoseconds = i64::try_from(decimal(kept)?).ok()? * scale;
        }
        Some(match (negative, nanoseconds) {
            (false, _) => (seconds, nanoseconds),
            (true, 0) => (-seconds, 0),
            (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
        })
    };
    let (tv_sec, tv_nsec) = parse().context("the PAX record \"mtime\" holds no time")?;
    Ok(Some(Timespec { tv_sec, tv_nsec }))
}

/// Checks the records of a global header, which would count for every entry that follows.
pub fn check_global(data: &[u8]) -> Result<()> {
    ensure!(
        Pax::parse(data)? == Pax::default(),
        "a global PAX header that sets names, sizes, owners, times or attributes is not supported"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write(key: &str, value: &[u8]) -> Vec<u8> {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        let mut record = format!("{length} {key}=").into_bytes();
        record.extend(value);
        record.push(b'\n');
        record
    }

    #[test]
    fn values_may_hold_line_ends() {
        let mut data = write("SCHILY.xattr.security.capability", b"\x01\n\n=\x00\n");
        data.extend(write("path", "rootfs/ä\nb".as_bytes()));
        data.extend(write("comment", b"x"));
        let pax = Pax::parse(&data).unwrap();
        assert_eq!(pax.xattrs[0].name, b"security.capability");
        assert_eq!(pax.xattrs[0].value, b"\x01\n\n=\x00\n");
        assert_eq!(pax.path.unwrap(), "rootfs/ä\nb".as_bytes());
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"x"[..],
            b"5 a=b",
            b"7 a=b\n",
            b"6 =ab\n",
            b"-6 a=b\n",
            b"6 a=bc",
            b" 6 a=b\n",
            b"99999999999999999999 a=b\n",
            b"2 a=b\n",
            b"0 a=b\n",
            b"\n",
        ] {
            assert!(Pax::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert!(Pax::parse(&write("size", b"-1")).is_err());
        assert!(Pax::parse(&write("size", b"18446744073709551616")).is_err());
        assert!(Pax::parse(&write("uid", b"0x1")).is_err());
        assert!(Pax::parse(&write("GNU.sparse.major", b"1")).is_err());
    }

    #[test]
    fn times() {
        let parse = |text: &str| {
            time(text.as_bytes())
                .unwrap()
                .map(|t| (t.tv_sec, t.tv_nsec))
        };
        assert_eq!(parse("1700000000.25"), Some((1_700_000_000, 250_000_000)));
        assert_eq!(parse("-1.5"), Some((-2, 500_000_000)));
        assert_eq!(parse("-3"), Some((-3, 0)));
        assert_eq!(parse("1.0000000019"), Some((1, 1)));
        assert_eq!(parse(""), None);
        for bad in [
            "x",
            ".",
            "1.x",
            "1.5.5",
            "--1",
            "99999999999999999999",
            "1.123456789x",
        ] {
            assert!(time(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn last_record_counts_and_empty_means_none() {
        let data = [
            write("size", b"1"),
            write("size", b"2"),
            write("path", b"a"),
            write("path", b""),
        ];
        let pax = Pax::parse(&data.concat()).unwrap();
        assert_eq!((pax.size, pax.path), (Some(2), None));
    }

    #[test]
    fn attributes_are_bounded() {
        let records = |count: usize| {
            let record = |number| write(&format!("SCHILY.xattr.user.{number}"), b"x");
            (0..count).flat_map(record).collect::<Vec<_>>()
        };
        let pax = Pax::parse(&records(MAX_XATTRS)).unwrap();
        assert_eq!(pax.xattrs.len(), MAX_XATTRS);
        let error = Pax::parse(&records(MAX_XATTRS + 1)).unwrap_err();
        assert!(error.to_string().contains("extended attributes"));
        let same = write("SCHILY.xattr.user.x", b"x").repeat(MAX_XATTRS + 1);
        assert_eq!(Pax::parse(&same).unwrap().xattrs.len(), 1);
    }

    #[test]
    fn global_headers_may_only_comment() {
        check_global(&write("comment", b"c0ffee")).unwrap();
        assert!(check_global(&write("path", b"x")).is_err());
    }

    proptest! {
        #[test]
        fn any_value_comes_back(value in proptest::collection::vec(any::<u8>(), 1..300)) {
            let pax = Pax::parse(&write("path", &value)).unwrap();
            prop_assert_eq!(pax.path, Some(value));
        }

        #[test]
        fn no_bytes_panic(data in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Pax::parse(&data);
        }
    }
}
