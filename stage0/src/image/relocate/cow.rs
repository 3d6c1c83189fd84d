//! A copy-on-write view of a file: reads go through to the file, writes stay in memory until
//! they are applied all together, so that a file is either patched or untouched.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

const PAGE: u64 = 4096;
/// How much is read ahead, as a parser asks for a few bytes at a time.
const WINDOW: usize = 64 * 1024;

/// The view. Reading past its end fails, writing there makes it longer.
pub(super) struct CowFile<'f> {
    file: &'f File,
    file_len: u64,
    len: u64,
    position: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE as usize]>>,
    max_len: u64,
    max_pages: usize,
    window: Vec<u8>,
    window_start: u64,
    io_error: Option<Error>,
}

impl<'f> CowFile<'f> {
    /// A view of `file`, which holds at most `max_written` bytes of changed pages, and gets
    /// longer by no more than that.
    pub(super) fn new(file: &'f File, max_written: u64) -> Result<Self> {
        let file_len = file.metadata()?.len();
        Ok(Self {
            file,
            file_len,
            len: file_len,
            position: 0,
            pages: BTreeMap::new(),
            max_len: file_len.saturating_add(max_written),
            max_pages: usize::try_from(max_written / PAGE).unwrap_or(usize::MAX),
            window: Vec::new(),
            window_start: 0,
            io_error: None,
        })
    }

    /// The length of the file as the view shows it.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// A view of the file as it is without the changes.
    pub(super) fn original(&self) -> Result<CowFile<'f>> {
        CowFile::new(self.file, 0)
    }

    /// The error of the device, if there was one: it is no fault of the file's content, whatever
    /// a parser in between made of it.
    pub(super) fn take_io_error(&mut self) -> Option<Error> {
        self.io_error.take()
    }

    /// Reads exactly `buffer.len()` bytes at `offset`.
    pub(super) fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < buffer.len() {
            let position = offset + done as u64;
            let (page, within) = (position / PAGE, (position % PAGE) as usize);
            let count = (buffer.len() - done).min(PAGE as usize - within);
            let part = &mut buffer[done..done + count];
            match self.pages.get(&page) {
                Some(page) => part.copy_from_slice(&page[within..within + count]),
                None => self.read_original(position, part)?,
            }
            done += count;
        }
        Ok(())
    }

    /// Calls `check` with each changed page: its offset, the file's bytes there (zeros past the
    /// file's end) and the view's.
    pub(super) fn changed_pages(&mut self, mut check: impl FnMut(u64, &[u8], &[u8])) -> Result<()> {
        let pages = std::mem::take(&mut self.pages);
        let mut original = [0; PAGE as usize];
        let outcome = pages.iter().try_for_each(|(&page, changed)| {
            self.read_original(page * PAGE, &mut original)?;
            check(page * PAGE, &original, &changed[..]);
            Ok(())
        });
        self.pages = pages;
        outcome
    }

    /// Writes the changes to `target`, which is the same file open for writing.
    pub(super) fn apply(&self, target: &File) -> Result<()> {
        for (&page, bytes) in &self.pages {
            let offset = page * PAGE;
            let count = self.len.saturating_sub(offset).min(PAGE) as usize;
            target.write_all_at(&bytes[..count], offset)?;
        }
        Ok(())
    }

    /// Reads the underlying file; past its end there are zeros.
    fn read_original(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let outcome = self.try_read_original(offset, buffer);
        if let Err(error) = &outcome {
            self.io_error = Some(error.raw_os_error().map_or_else(
                || Error::new(error.kind(), error.to_string()),
                Error::from_raw_os_error,
            ));
        }
        outcome
    }

    fn try_read_original(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let inside = self
            .file_len
            .saturating_sub(offset)
            .min(buffer.len() as u64) as usize;
        let (inside, outside) = buffer.split_at_mut(inside);
        outside.fill(0);
        if inside.is_empty() {
            return Ok(());
        }
        let window_end = self.window_start + self.window.len() as u64;
        if offset < self.window_start || offset + inside.len() as u64 > window_end {
            let count = (self.file_len - offset).min(WINDOW as u64) as usize;
            self.window.resize(count.max(inside.len()), 0);
            self.window_start = offset;
            if let Err(error) = self.file.read_exact_at(&mut self.window, offset) {
                self.window.clear();
                return Err(error);
            }
        }
        let start = (offset - self.window_start) as usize;
        inside.copy_from_slice(&self.window[start..start + inside.len()]);
        Ok(())
    }

    /// The page for writing, copied from the file when it is first written to.
    fn page_mut(&mut self, page: u64) -> Result<&mut [u8; PAGE as usize]> {
        if !self.pages.contains_key(&page) {
            if self.pages.len() >= self.max_pages {
                return Err(Error::new(
                    ErrorKind::FileTooLarge,
                    "the change is too large",
                ));
            }
            let mut bytes = Box::new([0; PAGE as usize]);
            self.read_original(page * PAGE, &mut bytes[..])?;
            self.pages.insert(page, bytes);
        }
        self.pages
            .get_mut(&page)
            .map(|bytes| &mut **bytes)
            .ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Read for CowFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let left = self.len.saturating_sub(self.position);
        let count = left.min(buffer.len() as u64) as usize;
        self.read_at(self.position.min(self.len), &mut buffer[..count])?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for CowFile<'_> {
    fn write(&mut self, buffer: &[u8]) -> Result<usize> {
        let position = self.position;
        let within = (position % PAGE) as usize;
        let count = buffer.len().min(PAGE as usize - within);
        let end = position
            .checked_add(count as u64)
            .filter(|&end| end <= self.max_len)
            .ok_or(ErrorKind::FileTooLarge)?;
        if count > 0 {
            let page = self.page_mut(position / PAGE)?;
            page[within..within + count].copy_from_slice(&buffer[..count]);
        }
        self.position = end;
        self.len = self.len.max(end);
        Ok(count)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Seek for CowFile<'_> {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::End(offset) => (self.len, offset),
            SeekFrom::Current(offset) => (self.position, offset),
        };
        self.position = base
            .checked_add_signed(offset)
            .ok_or(ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_write_stays_in_memory_until_applied() {
        let file = file(b"hello");
        let mut view = CowFile::new(&file, 1 << 20).unwrap();
        view.seek(SeekFrom::Start(9000)).unwrap();
        view.write_all(b"end").unwrap();
        assert_eq!(file.metadata().unwrap().len(), 5);
        assert_eq!(view.len(), 9003);
        view.apply(&file).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 9003);
    }

    #[test]
    fn refuses_to_grow_beyond_its_bound() {
        let file = file(b"");
        let mut view = CowFile::new(&file, 2 * PAGE).unwrap();
        let error = view.write_all(&[1; 3 * PAGE as usize]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(view.take_io_error().is_none());
        assert_eq!(view.pages.len(), 2);
    }

    #[test]
    fn positions_beyond_any_file_are_errors() {
        let file = file(b"x");
        let mut view = CowFile::new(&file, PAGE).unwrap();
        view.seek(SeekFrom::Start(u64::MAX)).unwrap();
        assert_eq!(view.read(&mut [0; 4]).unwrap(), 0);
        assert!(view.write(b"y").is_err());
        assert!(view.read_at(u64::MAX, &mut [0; 4]).is_err());
    }

    proptest! {
        #[test]
        fn behaves_as_a_file(
            content in proptest::collection::vec(any::<u8>(), 0..20_000),
            writes in proptest::collection::vec((0_u64..100_000, proptest::collection::vec(any::<u8>(), 1..9000)), 0..6),
        ) {
            let original = file(&content);
            let mut view = CowFile::new(&original, 1 << 22).unwrap();
            let mut model = content;
            for (offset, bytes) in writes {
                view.seek(SeekFrom::Start(offset)).unwrap();
                view.write_all(&bytes).unwrap();
                let end = offset as usize + bytes.len();
                model.resize(model.len().max(end), 0);
                model[offset as usize..end].copy_from_slice(&bytes);
            }
            let mut seen = Vec::new();
            view.seek(SeekFrom::Start(0)).unwrap();
            view.read_to_end(&mut seen).unwrap();
            prop_assert!(seen == model);
            view.apply(&original).unwrap();
            let mut applied = vec![0; model.len()];
            original.read_exact_at(&mut applied, 0).unwrap();
            prop_assert!(applied == model);
        }
    }
}
