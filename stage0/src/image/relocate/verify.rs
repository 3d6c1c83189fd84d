//! Checks a patched ELF file against what it was: everything that its loader and its code rely
//! on is where it was, and only what was wanted has changed.

use std::ops::Range;

use elb::{DynamicTag, Segment, SegmentFlags, SegmentKind};

use super::cow::CowFile;
use super::elf::{Fault, Image, read};
use super::elf_patch::Wanted;

const CHUNK: u64 = 64 * 1024;

/// Fails if the view is not the file `before` with the `wanted` values. Only content in the
/// `movable` ranges may have been written over.
pub(super) fn check(
    view: &mut CowFile<'_>,
    before: &Image,
    movable: &[Range<u64>],
    wanted: &Wanted<'_>,
) -> Result<(), Fault> {
    let after = Image::read(view)?.ok_or_else(|| failed("the file header"))?;
    check_header(before, &after)?;
    check_segments(before, &after)?;
    check_dynamic(before, &after)?;
    check_strings(view, before, &after)?;
    check_wanted(view, before, &after, wanted)?;
    check_content(view, movable)
}

fn failed(what: &str) -> Fault {
    Fault::Odd(format!("patching it would damage {what}"))
}

fn ensure(holds: bool, what: &str) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(failed(what)) }
}

fn check_header(before: &Image, after: &Image) -> Result<(), Fault> {
    let (old, new) = (&before.header, &after.header);
    let same = old.class == new.class
        && old.byte_order == new.byte_order
        && old.kind == new.kind
        && old.machine == new.machine
        && old.entry_point == new.entry_point
        && old.flags == new.flags;
    ensure(same, "the file header")
}

/// Every segment is still there, and those that were made anew are mapped.
fn check_segments(before: &Image, after: &Image) -> Result<(), Fault> {
    use SegmentKind::{Dynamic, Interpreter, Null, ProgramHeader};
    let old_headers = before.segment(ProgramHeader);
    for old in before.segments.iter() {
        let replaced = matches!(old.kind, Dynamic | Interpreter | Null | ProgramHeader)
            // The mapping of the old program headers alone goes with them.
            || old_headers.is_some_and(|headers| {
                old.offset == headers.offset && old.file_size == headers.file_size
            });
        if !replaced {
            let kept = after.segments.iter().any(|new| same_segment(old, new));
            ensure(kept, "its segments")?;
        }
    }
    for new in after.segments.iter() {
        if matches!(new.kind, Dynamic | Interpreter | ProgramHeader) {
            let offset = after.file_offset(new.virtual_address, new.file_size);
            ensure(offset == Some(new.offset), "its segments")?;
        }
    }
    let headers = after.segment(ProgramHeader);
    let offset = after.header.program_header_offset;
    ensure(
        headers.is_some_and(|headers| headers.offset == offset),
        "its program headers",
    )
}

fn same_segment(old: &Segment, new: &Segment) -> bool {
    old.kind == new.kind
        && old.flags == new.flags
        && old.offset == new.offset
        && old.virtual_address == new.virtual_address
        && old.file_size == new.file_size
        && old.memory_size == new.memory_size
        && old.align == new.align
}

/// The table has the same entries, but for the string table's place and the search path, and
/// the loader can write to it where it could before (glibc sets DT_DEBUG in it).
fn check_dynamic(before: &Image, after: &Image) -> Result<(), Fault> {
    use DynamicTag::{Rpath, Runpath, StringTableAddress, StringTableSize};
    let kept = |image: &Image| -> Vec<_> {
        let entries = image.dynamic.iter().flat_map(|table| table.iter().copied());
        entries
            .filter(|(tag, _)| {
                !matches!(tag, Rpath | Runpath | StringTableAddress | StringTableSize)
            })
            .collect()
    };
    ensure(kept(before) == kept(after), "its dynamic section")?;
    ensure(
        !is_dynamic_writable(before) || is_dynamic_writable(after),
        "its dynamic section",
    )
}

fn is_dynamic_writable(image: &Image) -> bool {
    let dynamic = image.segment(SegmentKind::Dynamic);
    dynamic
        .and_then(|dynamic| image.load_at(dynamic.virtual_address, dynamic.file_size))
        .is_some_and(|load| load.flags.contains(SegmentFlags::WRITABLE))
}

/// The old string table is the beginning of the new one, so that every index still holds.
fn check_strings(view: &mut CowFile<'_>, before: &Image, after: &Image) -> Result<(), Fault> {
    let (Some(old), Some(new)) = (before.string_table(), after.string_table()) else {
        return Err(failed("its dynamic string table"));
    };
    ensure(new.1 >= old.1, "its dynamic string table")?;
    let mut original = view.original().map_err(Fault::Io)?;
    let mut done = 0;
    while done < old.1 {
        let size = CHUNK.min(old.1 - done);
        let same = read(&mut original, old.0 + done, size)? == read(view, new.0 + done, size)?;
        ensure(same, "its dynamic string table")?;
        done += size;
    }
    Ok(())
}

fn check_wanted(
    view: &mut CowFile<'_>,
    before: &Image,
    after: &Image,
    wanted: &Wanted<'_>,
) -> Result<(), Fault> {
    let interpreter = match wanted.interpreter {
        Some(interpreter) => Some(interpreter.to_bytes()),
        None => before.interpreter.as_deref(),
    };
    ensure(
        after.interpreter.as_deref() == interpreter,
        "its interpreter",
    )?;
    let dynamic = after
        .dynamic
        .as_ref()
        .ok_or_else(|| failed("its dynamic section"))?;
    let rpath = dynamic
        .get(DynamicTag::Rpath)
        .ok_or_else(|| failed("its search path"))?;
    ensure(
        dynamic.get(DynamicTag::Runpath).is_none(),
        "its search path",
    )?;
    ensure(
        after.string(view, rpath)? == wanted.rpath.to_bytes(),
        "its search path",
    )
}

/// Whatever was written over was padding, or a header or table that has moved.
fn check_content(view: &mut CowFile<'_>, movable: &[Range<u64>]) -> Result<(), Fault> {
    let mut intact = true;
    let outcome = view.changed_pages(|start, old, new| {
        let changed = old.iter().zip(new).enumerate();
        let mut lost = changed
            .filter(|(_, (old, new))| old != new && **old != 0)
            .map(|(index, _)| start + index as u64);
        intact &= lost.all(|offset| movable.iter().any(|range| range.contains(&offset)));
    });
    outcome.map_err(Fault::Io)?;
    ensure(intact, "data that belongs to none of its sections")
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    /// This test's own executable, and where its code starts in the file.
    fn with_executable(test: impl FnOnce(&mut CowFile<'_>, Image, u64)) {
        let file = File::open("/proc/self/exe").unwrap();
        let mut view = CowFile::new(&file, 1 << 20).unwrap();
        let image = Image::read(&mut view).unwrap().unwrap();
        let code = image.file_offset(image.header.entry_point, 1).unwrap();
        test(&mut view, image, code);
    }

    #[test]
    fn content_outside_the_movable_ranges_must_stay() {
        with_executable(|view, _, code| {
            let mut byte = [0];
            view.read_at(code, &mut byte).unwrap();
            view.seek(SeekFrom::Start(code)).unwrap();
            view.write_all(&[!byte[0]]).unwrap();
            let movable = code..code + 1;
            check_content(view, &[movable]).unwrap();
            let error = check_content(view, &[0..code, code + 1..u64::MAX]).unwrap_err();
            assert!(matches!(error, Fault::Odd(reason) if reason.contains("sections")));
        });
    }

    #[test]
    fn segments_and_dynamic_entries_must_stay() {
        with_executable(|view, before, _| {
            check_dynamic(&before, &before).unwrap();
            let mut after = Image::read(view).unwrap().unwrap();
            let is_load = |segment: &Segment| segment.kind == SegmentKind::Loadable;
            let load = after
                .segments
                .iter_mut()
                .find(|segment| is_load(segment))
                .unwrap();
            load.memory_size += 1;
            assert!(check_segments(&before, &after).is_err());
            let mut after = Image::read(view).unwrap().unwrap();
            after.dynamic.as_mut().unwrap().pop();
            assert!(check_dynamic(&before, &after).is_err());
        });
    }

    #[test]
    fn the_dynamic_section_must_stay_writable() {
        with_executable(|view, before, _| {
            let mut after = Image::read(view).unwrap().unwrap();
            for segment in after.segments.iter_mut() {
                segment.flags.remove(SegmentFlags::WRITABLE);
            }
            assert!(check_dynamic(&before, &after).is_err());
        });
    }
}
