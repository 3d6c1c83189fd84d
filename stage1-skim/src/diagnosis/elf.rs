//! What an ELF file asks of its loader (elf(5)): no more than a diagnosis needs, every count
//! bounded and every offset taken as a claim.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};

/// Far above what linkers emit.
const SEGMENTS_MAX: u64 = 256;
/// The largest dynamic table that is read, in bytes.
const DYNAMIC_MAX: u64 = 64 * 1024;
/// No path or name is longer, in bytes, the NUL included (PATH_MAX).
const STRING_MAX: u64 = 4096;

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;

const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// Which machine's code a file is: `e_machine`, and whether it is a 64-bit one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `e_machine`.
    pub number: u16,
    /// ELFCLASS64.
    pub wide: bool,
}

impl Machine {
    /// The machine that this program is for.
    pub const HOST: Option<Self> = match std::env::consts::ARCH.as_bytes() {
        b"x86_64" => Some(Self::new(62, true)),
        b"aarch64" => Some(Self::new(183, true)),
        b"riscv64" => Some(Self::new(243, true)),
        b"powerpc64" => Some(Self::new(21, true)),
        b"s390x" => Some(Self::new(22, true)),
        b"loongarch64" => Some(Self::new(258, true)),
        _ => None,
    };

    const fn new(number: u16, wide: bool) -> Self {
        Self { number, wide }
    }

    /// Its name, as uname(2) would give it.
    pub fn name(self) -> String {
        let name = match (self.number, self.wide) {
            (3, _) => "i386",
            (8, true) => "mips64",
            (8, false) => "mips",
            (20, _) => "ppc",
            (21, _) => "ppc64",
            (22, _) => "s390x",
            (40, _) => "arm",
            (62, true) => "x86_64",
            (62, false) => "x32",
            (183, _) => "aarch64",
            (243, true) => "riscv64",
            (243, false) => "riscv32",
            (258, _) => "loongarch64",
            (number, _) => return format!("machine {number}"),
        };
        name.to_string()
    }
}

/// An ELF file, as its loader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// Which machine's code it is.
    pub machine: Machine,
    /// The path in PT_INTERP.
    pub interpreter: Option<OsString>,
    /// The names in DT_NEEDED.
    pub needed: Vec<OsString>,
    /// DT_RPATH.
    pub rpath: Option<OsString>,
    /// DT_RUNPATH, which makes DT_RPATH void.
    pub runpath: Option<OsString>,
}

/// Whether a file that begins so calls itself an ELF file.
pub fn is_elf(head: &[u8]) -> bool {
    head.starts_with(b"\x7fELF")
}

impl Elf {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it cannot be read, or is damaged.
    pub fn read(file: &File) -> Result<Self> {
        let header = Bytes::read(file, 0, 64, None)?;
        ensure!(is_elf(&header.bytes), "it is no ELF file");
        let wide = header.number(4, 1)? == 2;
        let is_big = header.number(5, 1)? == 2;
        let order = Some(is_big);
        let header = Bytes { order, ..header };
        let ((offset, offset_size), count) = match wide {
            true => ((32, 8), 56),
            false => ((28, 4), 44),
        };
        let reader = Reader {
            file,
            order,
            wide,
            segments: Vec::new(),
        };
        let count = header.number(count, 2)?.min(SEGMENTS_MAX);
        reader
            .with_segments(header.number(offset, offset_size)?, count)?
            .elf(Machine::new(header.number(18, 2)? as u16, wide))
    }
}

/// Bytes out of the file, and numbers out of them.
struct Bytes {
    bytes: Vec<u8>,
    /// Whether numbers are big-endian, once that is known.
    order: Option<bool>,
}

impl Bytes {
    /// Reads `length` bytes, or what there is.
    fn read(file: &File, offset: u64, length: u64, order: Option<bool>) -> Result<Self> {
        let mut bytes = vec![0; usize::try_from(length)?];
        let mut filled = 0;
        while filled < bytes.len() {
            let at = offset.checked_add(filled as u64).context("it is damaged")?;
            match file.read_at(&mut bytes[filled..], at)? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.truncate(filled);
        Ok(Self { bytes, order })
    }

    fn number(&self, at: usize, size: usize) -> Result<u64> {
        let bytes = self.bytes.get(at..at.saturating_add(size));
        let bytes = bytes.context("it breaks off")?.iter();
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Ok(match self.order {
            Some(true) => bytes.fold(0, add),
            _ => bytes.rev().fold(0, add),
        })
    }
}

struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    size: u64,
}

struct Reader<'a> {
    file: &'a File,
    order: Option<bool>,
    wide: bool,
    segments: Vec<Segment>,
}

impl Reader<'_> {
    fn bytes(&self, offset: u64, length: u64) -> Result<Bytes> {
        Bytes::read(self.file, offset, length, self.order)
    }

    /// Reads `count` program headers.
    fn with_segments(mut self, offset: u64, count: u64) -> Result<Self> {
        // Elf64_Phdr, Elf32_Phdr: size, and where p_offset, p_vaddr and p_filesz are.
        let (size, places, width) = match self.wide {
            true => (56, [8, 16, 32], 8),
            false => (32, [4, 8, 16], 4),
        };
        let table = self.bytes(offset, count * size)?;
        for start in (0..count * size).step_by(size as usize) {
            let start = start as usize;
            let field = |place: usize| table.number(start + place, width);
            self.segments.push(Segment {
                kind: table.number(start, 4)?,
                offset: field(places[0])?,
                address: field(places[1])?,
                size: field(places[2])?,
            });
        }
        Ok(self)
    }

    fn elf(&self, machine: Machine) -> Result<Elf> {
        let find = |kind| self.segments.iter().find(|segment| segment.kind == kind);
        let interpreter = match find(PT_INTERP) {
            Some(segment) => Some(self.string(segment.offset)?),
            None => None,
        };
        let mut elf = Elf {
            machine,
            interpreter,
            needed: Vec::new(),
            rpath: None,
            runpath: None,
        };
        let Some(dynamic) = find(PT_DYNAMIC) else {
            return Ok(elf);
        };
        let entries = self.dynamic(dynamic)?;
        let strings = entries.iter().find(|(tag, _)| *tag == DT_STRTAB);
        let Some(strings) = strings.and_then(|(_, address)| self.file_offset(*address)) else {
            return Ok(elf);
        };
        for (tag, value) in entries {
            let string = || {
                let at = strings.checked_add(value).context("it is damaged")?;
                self.string(at)
            };
            match tag {
                DT_NEEDED => elf.needed.push(string()?),
                DT_RPATH => elf.rpath = Some(string()?),
                DT_RUNPATH => elf.runpath = Some(string()?),
                _ => (),
            }
        }
        Ok(elf)
    }

    /// The dynamic table, tag and value of each entry up to DT_NULL.
    fn dynamic(&self, segment: &Segment) -> Result<Vec<(u64, u64)>> {
        let table = self.bytes(segment.offset, segment.size.min(DYNAMIC_MAX))?;
        let width = if self.wide { 8 } else { 4 };
        let mut entries = Vec::new();
        for start in (0..table.bytes.len()).step_by(2 * width) {
            let entry = (
                table.number(start, width)?,
                table.number(start + width, width)?,
            );
            if entry.0 == 0 {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Where in the file the byte at `address` is mapped from.
    fn file_offset(&self, address: u64) -> Option<u64> {
        let mut loads = self.segments.iter().filter(|load| load.kind == PT_LOAD);
        loads.find_map(|load| {
            let distance = address.checked_sub(load.address)?;
            (distance < load.size).then_some(())?;
            load.offset.checked_add(distance)
        })
    }

    fn string(&self, offset: u64) -> Result<OsString> {
        let mut bytes = self.bytes(offset, STRING_MAX)?.bytes;
        let end = bytes.iter().position(|byte| *byte == 0);
        bytes.truncate(end.context("a string in it does not end")?);
        Ok(OsString::from_vec(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Elf> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Elf::read(&file)
    }

    /// A little-endian program of 64 bits with one segment, PT_INTERP, at its end.
    fn program(interpreter: &[u8]) -> Vec<u8> {
        let mut elf = vec![0; 120];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18] = 62;
        (elf[32], elf[54], elf[56]) = (64, 56, 1);
        (elf[64], elf[72], elf[96]) = (3, 120, interpreter.len() as u8);
        elf.extend_from_slice(interpreter);
        elf
    }

    #[test]
    fn reads_the_interpreter() {
        let elf = read(&program(b"/lib/ld.so\0x")).unwrap();
        assert_eq!(elf.interpreter, Some("/lib/ld.so".into()));
        assert_eq!(elf.machine.name(), "x86_64");
    }

    #[test]
    fn reads_what_a_real_program_needs() {
        // Built for the machine that builds, and dynamic.
        let elf = Elf::read(&File::open("/bin/sh").unwrap()).unwrap();
        assert_eq!(Some(elf.machine), Machine::HOST);
        let needs = |name: &str| elf.needed.iter().any(|needed| needed == name);
        assert!(needs("libc.so.6"), "{elf:?}");
    }

    #[test]
    fn damage_is_an_error() {
        let whole = program(b"/lib/ld.so\0");
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length} bytes");
        }
        // Offsets and counts that lie.
        for (at, length) in [(32, 8), (54, 4), (72, 8), (96, 8)] {
            let mut lying = whole.clone();
            lying[at..at + length].fill(0xff);
            let _ = read(&lying);
        }
    }
}
