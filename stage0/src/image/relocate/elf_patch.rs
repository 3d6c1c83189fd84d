//! Sets an ELF file's interpreter and DT_RPATH, in a copy-on-write view of it.
//!
//! The crate `elb` does the work. It trusts what it reads, so the file is checked before and the
//! outcome after; whatever goes wrong in between, the file itself has not been written to.

use std::ffi::CStr;
use std::ops::Range;

use elb::{DynamicTag, Elf, ElfPatcher, Section, SectionKind, Segment, SegmentFlags, SegmentKind};

use super::cow::CowFile;
use super::elf::{Fault, Image, MAX_DYNAMIC, within};
use super::panics;
use super::verify;

/// The tables that the patcher reads whole, or moves: names and symbols.
const MAX_TABLES: u64 = 64 * 1024 * 1024;

/// How much a patch may write: the tables' old and new places, and the headers.
pub(super) const MAX_WRITTEN: u64 = 2 * MAX_TABLES;

/// What a file is to ask of its loader from now on.
pub(super) struct Wanted<'a> {
    /// The loader's path, for a program.
    pub(super) interpreter: Option<&'a CStr>,
    /// The directories to search for libraries.
    pub(super) rpath: &'a CStr,
}

/// Patches the file in the view. After an error the view is of no use any more.
pub(super) fn patch(view: &mut CowFile<'_>, wanted: &Wanted<'_>) -> Result<(), Fault> {
    let before = Image::read(view)?.ok_or_else(|| Fault::odd("not an executable"))?;
    // The patcher's arithmetic can still overflow on values that make no sense together.
    let movable = match panics::caught(|| rewrite(view, &before, wanted)) {
        Some(movable) => movable?,
        None => return Err(Fault::of(view, "its headers contradict each other")),
    };
    verify::check(view, &before, &movable, wanted)
}

/// Returns the ranges of the file whose content the patcher may have moved elsewhere.
fn rewrite(
    view: &mut CowFile<'_>,
    before: &Image,
    wanted: &Wanted<'_>,
) -> Result<Vec<Range<u64>>, Fault> {
    if before.header.num_sections == 0 {
        return Err(Fault::odd("it has no section headers"));
    }
    let len = view.len();
    let mut elf = Elf::read_unchecked(view, page_size(before)).map_err(|e| Fault::of(view, e))?;
    check_segments(&elf, len).map_err(Fault::odd)?;
    check_sections(&elf, len).map_err(Fault::odd)?;
    elf.check().map_err(Fault::odd)?;
    let movable = movable(&elf, len)?;
    cover_program_headers(&mut elf);
    let page_size = elf.page_size();
    let mut patcher = ElfPatcher::new(elf, &mut *view);
    patcher.set_page_size(page_size);
    let outcome = (|| {
        if let Some(interpreter) = wanted.interpreter {
            patcher.set_interpreter(interpreter)?;
        }
        patcher.set_dynamic_tag(DynamicTag::Rpath, wanted.rpath)?;
        patcher.finish().map(drop)
    })();
    outcome.map_err(|error| Fault::of(view, error))?;
    Ok(movable)
}

/// Libraries have no PT_PHDR, and elb 0.4.1 takes the room of the program headers for free where
/// no segment of their own covers them.
fn cover_program_headers(elf: &mut Elf) {
    let kind = SegmentKind::ProgramHeader;
    if elf.segments.iter().any(|segment| segment.kind == kind) {
        return;
    }
    let size = elf.header.program_header_len();
    let headers = Segment {
        kind,
        flags: SegmentFlags::READABLE,
        offset: elf.header.program_header_offset,
        virtual_address: 0,
        physical_address: 0,
        file_size: size,
        memory_size: size,
        align: 0,
    };
    elf.segments.insert(0, headers);
}

/// The alignment that the file's segments are made for, within what systems use.
fn page_size(image: &Image) -> u64 {
    let smallest = image.loads().map(|segment| segment.align).min();
    smallest.unwrap_or(0).clamp(4096, 65536).next_power_of_two()
}

/// The patcher puts what is new behind all segments, wherever they claim to end.
fn check_segments(elf: &Elf, len: u64) -> Result<(), String> {
    let inside = |segment: &Segment| within(segment.offset, segment.file_size, len);
    match elf.segments.iter().all(inside) {
        true => Ok(()),
        false => Err("a segment reaches past the end of the file".to_owned()),
    }
}

fn check_sections(elf: &Elf, len: u64) -> Result<(), String> {
    let in_file =
        |section: &&Section| !matches!(section.kind, SectionKind::NoBits | SectionKind::Null);
    for section in elf.sections.iter().filter(in_file) {
        if !within(section.offset, section.size, len) {
            return Err("a section reaches past the end of the file".to_owned());
        }
    }
    let tables = elf.sections.iter().filter(|section| is_table(section));
    if tables.fold(0_u64, |sum, table| sum.saturating_add(table.size)) > MAX_TABLES {
        return Err(format!(
            "its tables of names and symbols exceed {} MiB",
            MAX_TABLES >> 20
        ));
    }
    let names = elf
        .sections
        .get(usize::from(elf.header.section_names_index));
    if names.is_none_or(|names| names.kind != SectionKind::StringTable || names.size == 0) {
        return Err("it has no table of section names".to_owned());
    }
    check_dynamic_section(elf)
}

/// The patcher goes by sections where the loader goes by segments: they must agree.
fn check_dynamic_section(elf: &Elf) -> Result<(), String> {
    let section = elf
        .sections
        .iter()
        .find(|section| section.kind == SectionKind::Dynamic);
    let segment = elf
        .segments
        .iter()
        .find(|segment| segment.kind == SegmentKind::Dynamic);
    let (Some(section), Some(segment)) = (section, segment) else {
        return Err("it has no dynamic section".to_owned());
    };
    if section.offset != segment.offset
        || section.virtual_address != segment.virtual_address
        || section.size > MAX_DYNAMIC
    {
        return Err("its dynamic section is not its dynamic segment".to_owned());
    }
    Ok(())
}

fn is_table(section: &Section) -> bool {
    use SectionKind::{DynamicSymbolTable, StringTable, SymbolTable};
    matches!(section.kind, StringTable | SymbolTable | DynamicSymbolTable)
}

/// The ranges of headers and tables, and nothing else, may be written over. What no header
/// accounts for, such as an archive appended to its unpacker, must stay where it is.
fn movable(elf: &Elf, len: u64) -> Result<Vec<Range<u64>>, Fault> {
    let header = &elf.header;
    let segments = header.program_header_offset;
    let sections = header.section_header_offset;
    let mut ranges = vec![
        0..u64::from(header.len),
        segments..segments + header.program_header_len(),
        sections..sections + header.section_header_len(),
    ];
    let mut end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
    for section in elf.sections.iter() {
        let range = section.file_offset_range();
        if is_table(section) || section.kind == SectionKind::Dynamic {
            ranges.push(range.clone());
        }
        if section.kind != SectionKind::Null {
            end = end.max(range.end);
        }
    }
    for segment in elf.segments.iter() {
        use SegmentKind::{Dynamic, Interpreter, ProgramHeader};
        let range = segment.file_offset_range();
        if matches!(segment.kind, Dynamic | Interpreter | ProgramHeader) {
            ranges.push(range.clone());
        }
        end = end.max(range.end);
    }
    if end < len {
        return Err(Fault::odd(
            "data is appended to it, which patching would displace",
        ));
    }
    Ok(ranges)
}
