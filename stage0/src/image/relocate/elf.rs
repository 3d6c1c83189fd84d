//! What an ELF file asks of its loader, read with every count and offset checked against the
//! file's length first: the parser behind it allocates what the headers claim.

use std::fmt::Display;
use std::io::Cursor;

use elb::{
    BlockRead, Class, DynamicTable, DynamicTag, FileKind, Header, ProgramHeader, Segment,
    SegmentKind,
};

use super::cow::CowFile;

/// Far above what linkers emit; some checks of the patcher are quadratic in these.
const MAX_SEGMENTS: u16 = 256;
const MAX_SECTIONS: u16 = 8192;
/// PATH_MAX, with the NUL: the kernel refuses a longer interpreter.
pub(super) const MAX_INTERPRETER: usize = 4096;
/// The largest dynamic table that is read.
pub(super) const MAX_DYNAMIC: u64 = 64 * 1024;
/// The longest string that is read out of a string table.
const MAX_STRING: u64 = 64 * 1024;

/// Why a file cannot be worked on.
#[derive(Debug)]
pub(super) enum Fault {
    /// Input or output failed, which ends the import.
    Io(std::io::Error),
    /// The file is odd; it stays as it is.
    Odd(String),
}

impl Fault {
    /// A fault of the file's content.
    pub(super) fn odd(reason: impl Display) -> Self {
        Self::Odd(reason.to_string())
    }

    /// The fault behind an error that came out of reading `view`: the device's, if it failed.
    pub(super) fn of(view: &mut CowFile<'_>, error: impl Display) -> Self {
        view.take_io_error()
            .map_or_else(|| Self::odd(error), Self::Io)
    }
}

/// An executable or shared object as its loader sees it: section headers mean nothing to it, and
/// files with odd ones, or without any, run.
pub(super) struct Image {
    /// The file header.
    pub(super) header: Header,
    /// The program headers.
    pub(super) segments: ProgramHeader,
    /// The dynamic table, where there is one.
    pub(super) dynamic: Option<DynamicTable>,
    /// The path in PT_INTERP.
    pub(super) interpreter: Option<Vec<u8>>,
}

impl Image {
    /// Reads a file; `None` if it is no ELF executable or shared object.
    pub(super) fn read(view: &mut CowFile<'_>) -> Result<Option<Self>, Fault> {
        let Some(header) = read_header(view)? else {
            return Ok(None);
        };
        if !matches!(header.kind, FileKind::Executable | FileKind::Shared) {
            return Ok(None);
        }
        let (class, order) = (header.class, header.byte_order);
        let bytes = read(
            view,
            header.program_header_offset,
            header.program_header_len(),
        )?;
        let len = bytes.len() as u64;
        let segments =
            ProgramHeader::read(&mut Cursor::new(bytes), class, order, len).map_err(Fault::odd)?;
        let mut image = Self {
            header,
            segments,
            dynamic: None,
            interpreter: None,
        };
        image.check_segments(view.len())?;
        image.dynamic = image.read_dynamic(view)?;
        image.interpreter = image.read_interpreter(view)?;
        Ok(Some(image))
    }

    /// The first segment of a kind.
    pub(super) fn segment(&self, kind: SegmentKind) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.kind == kind)
    }

    /// The segments that are mapped.
    pub(super) fn loads(&self) -> impl Iterator<Item = &Segment> {
        let all = self.segments.iter();
        all.filter(|segment| segment.kind == SegmentKind::Loadable)
    }

    /// The segment that maps `size` bytes of the file at `address`.
    pub(super) fn load_at(&self, address: u64, size: u64) -> Option<&Segment> {
        self.loads().find(|load| {
            address
                .checked_sub(load.virtual_address)
                .is_some_and(|distance| within(distance, size, load.file_size))
        })
    }

    /// Where in the file `size` bytes at `address` are mapped from.
    pub(super) fn file_offset(&self, address: u64, size: u64) -> Option<u64> {
        let load = self.load_at(address, size)?;
        load.offset.checked_add(address - load.virtual_address)
    }

    /// Offset and size of the dynamic string table in the file.
    pub(super) fn string_table(&self) -> Option<(u64, u64)> {
        let dynamic = self.dynamic.as_ref()?;
        let address = dynamic.get(DynamicTag::StringTableAddress)?;
        let size = dynamic.get(DynamicTag::StringTableSize)?;
        Some((self.file_offset(address, size)?, size))
    }

    /// Reads a string of the dynamic string table.
    pub(super) fn string(&self, view: &mut CowFile<'_>, index: u64) -> Result<Vec<u8>, Fault> {
        let Some((offset, size)) = self.string_table().filter(|&(_, size)| index < size) else {
            return Err(Fault::odd("its dynamic string table is not in the file"));
        };
        let mut bytes = read(view, offset + index, (size - index).min(MAX_STRING))?;
        match bytes.iter().position(|&byte| byte == 0) {
            Some(end) => bytes.truncate(end),
            None => {
                return Err(Fault::odd(
                    "a string in its dynamic string table does not end",
                ));
            }
        }
        bytes.shrink_to_fit();
        Ok(bytes)
    }

    fn check_segments(&self, len: u64) -> Result<(), Fault> {
        use SegmentKind::{Dynamic, Interpreter, Loadable};
        let used = |segment: &&Segment| matches!(segment.kind, Loadable | Dynamic | Interpreter);
        for segment in self.segments.iter().filter(used) {
            if !within(segment.offset, segment.file_size, len) {
                return Err(Fault::odd("a segment reaches past the end of the file"));
            }
        }
        Ok(())
    }

    fn read_interpreter(&self, view: &mut CowFile<'_>) -> Result<Option<Vec<u8>>, Fault> {
        let Some(segment) = self.segment(SegmentKind::Interpreter) else {
            return Ok(None);
        };
        if segment.file_size < 2 || segment.file_size > MAX_INTERPRETER as u64 {
            return Err(Fault::odd("its interpreter has an odd length"));
        }
        let mut path = read(view, segment.offset, segment.file_size)?;
        match path.iter().position(|&byte| byte == 0) {
            Some(end) => path.truncate(end),
            None => return Err(Fault::odd("its interpreter is not terminated")),
        }
        Ok(Some(path))
    }

    fn read_dynamic(&self, view: &mut CowFile<'_>) -> Result<Option<DynamicTable>, Fault> {
        let Some(segment) = self.segment(SegmentKind::Dynamic) else {
            return Ok(None);
        };
        if segment.file_size > MAX_DYNAMIC {
            return Err(Fault::odd("its dynamic section is too large"));
        }
        let bytes = read(view, segment.offset, segment.file_size)?;
        let (class, order) = (self.header.class, self.header.byte_order);
        let table = DynamicTable::read(&mut Cursor::new(bytes), class, order, segment.file_size);
        table.map(Some).map_err(Fault::odd)
    }
}

/// What decides whether and how a file is relocated.
#[derive(Debug)]
pub(super) struct Facts {
    /// Which machine's code it is.
    pub(super) machine: Machine,
    /// The path in PT_INTERP.
    pub(super) interpreter: Option<Vec<u8>>,
    /// Whether the file starts somewhere, as programs and loaders do.
    pub(super) has_entry: bool,
    /// Whether it has a DT_SONAME, as libraries do.
    pub(super) has_soname: bool,
    /// Whether it needs any library.
    pub(super) has_needs: bool,
    /// The C library among those that it needs.
    pub(super) libc: Option<Vec<u8>>,
    /// DT_RPATH.
    pub(super) rpath: Option<Vec<u8>>,
    /// DT_RUNPATH, which makes DT_RPATH void.
    pub(super) runpath: Option<Vec<u8>>,
}

/// `e_machine`, and whether the file is a 64-bit one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Machine {
    pub(super) number: u16,
    pub(super) wide: bool,
}

impl Facts {
    /// Reads the facts; `None` if the file is no ELF executable or shared object.
    pub(super) fn read(view: &mut CowFile<'_>) -> Result<Option<Self>, Fault> {
        let Some(image) = Image::read(view)? else {
            return Ok(None);
        };
        let mut facts = Self {
            machine: Machine {
                number: image.header.machine.as_u16(),
                wide: image.header.class == Class::Elf64,
            },
            interpreter: image.interpreter.clone(),
            has_entry: image.header.entry_point != 0,
            has_soname: false,
            has_needs: false,
            libc: None,
            rpath: None,
            runpath: None,
        };
        for &(tag, value) in image.dynamic.iter().flat_map(|table| table.iter()) {
            match tag {
                DynamicTag::Needed => facts.add_need(image.string(view, value)?),
                DynamicTag::SharedObjectName => facts.has_soname = true,
                DynamicTag::Rpath => facts.rpath = Some(image.string(view, value)?),
                DynamicTag::Runpath => facts.runpath = Some(image.string(view, value)?),
                _ => {}
            }
        }
        Ok(Some(facts))
    }

    /// The search path that is in force.
    pub(super) fn search_path(&self) -> Option<&[u8]> {
        self.runpath.as_deref().or(self.rpath.as_deref())
    }

    fn add_need(&mut self, library: Vec<u8>) {
        self.has_needs = true;
        if library.starts_with(b"libc.") {
            self.libc = Some(library);
        }
    }
}

fn read_header(view: &mut CowFile<'_>) -> Result<Option<Header>, Fault> {
    let bytes = read(view, 0, view.len().min(64))?;
    if !bytes.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let header = Header::read(&mut Cursor::new(bytes)).map_err(Fault::odd)?;
    check_header(&header, view.len()).map_err(Fault::odd)?;
    Ok(Some(header))
}

fn check_header(header: &Header, len: u64) -> Result<(), &'static str> {
    let class = header.class;
    if header.num_segments > MAX_SEGMENTS || header.num_sections > MAX_SECTIONS {
        return Err("it has too many segments or sections");
    }
    if (header.num_segments > 0 && header.segment_len != class.segment_len())
        || (header.num_sections > 0 && header.section_len != class.section_len())
    {
        return Err("its header entries have an odd size");
    }
    if !within(
        header.program_header_offset,
        header.program_header_len(),
        len,
    ) || !within(
        header.section_header_offset,
        header.section_header_len(),
        len,
    ) {
        return Err("its headers reach past the end of the file");
    }
    Ok(())
}

/// Reads a range whose size was checked.
pub(super) fn read(view: &mut CowFile<'_>, offset: u64, size: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = vec![0; size as usize];
    match view.read_at(offset, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(Fault::of(view, error)),
    }
}

/// Whether a range lies within a length.
pub(super) fn within(offset: u64, size: u64, len: u64) -> bool {
    offset.checked_add(size).is_some_and(|end| end <= len)
}
