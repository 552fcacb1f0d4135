//! The bytes of one tensor, owned: they keep their file open and say how they come into memory and leave it.

use crate::platform::file_bytes::{DIRECT_PAGE, DirectFile, FileBytes};
use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// The bytes of a tensor, or of some of its rows, where they lie in their file. A clone is the same bytes.
#[derive(Clone)]
pub struct Stored {
    file: Arc<FileBytes>,
    range: Range<usize>,
}

impl Stored {
    /// The bytes of a file at `range`, which the directory was checked against.
    pub(super) fn new(file: &Arc<FileBytes>, range: Range<usize>) -> Stored {
        Stored { file: file.clone(), range }
    }

    /// A part of the bytes, counted from their start.
    ///
    /// # Panics
    /// If it is not inside.
    pub fn slice(&self, part: Range<usize>) -> Stored {
        assert!(part.start <= part.end && part.end <= self.range.len(), "{part:?} of {} bytes", self.range.len());
        Stored { file: self.file.clone(), range: self.range.start + part.start..self.range.start + part.end }
    }

    /// Has the system read the bytes into its page cache, from start to end, so that the first pass over them does not
    /// wait page by page. Returns when the last of them is being read.
    pub fn prefetch(&self) {
        self.file.will_need(self.range.clone());
    }

    /// Brings the bytes into this process's memory, from start to end, so that the first pass over them does not wait
    /// page by page. Where the system cannot do that, as [`Stored::prefetch`].
    pub fn load(&self) {
        self.file.load(self.range.clone());
    }

    /// Tells the system that the bytes come and go ([`Stored::evict`]), so that their neighbours do not come with them.
    pub fn advise_transient(&self) {
        self.file.small_pages(self.range.clone());
    }

    /// Tells the system that single rows are read here and there: an embedding that is not also the head.
    pub fn advise_random(&self) {
        self.file.random(self.range.clone());
    }

    /// Reads the bytes past the mapping into `pages`, where they begin as far behind a page as in the file, see
    /// [`Stored::place`]; with `direct`, past the page cache too.
    ///
    /// # Errors
    /// If the file cannot be read, or has become shorter.
    ///
    /// # Panics
    /// If `pages` has no room for the place.
    pub(crate) fn read(&self, pages: &mut [u8], direct: Option<&DirectFile>) -> io::Result<()> {
        let place = self.place();
        if let Some(direct) = direct {
            let pages = &mut pages[..place.end.next_multiple_of(DIRECT_PAGE)];
            // Where it fails the usual way may do, and knows the error if not.
            if direct.read(self.range.start - place.start, pages).is_ok_and(|n| n >= place.end) {
                return Ok(());
            }
        }
        self.file.read(self.range.start, &mut pages[place])
    }

    /// Where the bytes are in the pages of the file that they touch.
    pub(crate) fn place(&self) -> Range<usize> {
        let start = self.range.start % DIRECT_PAGE;
        start..start + self.range.len()
    }

    /// The file, to be read past the page cache, where that can be done.
    pub(crate) fn open_direct(&self) -> Option<DirectFile> {
        self.file.open_direct()
    }

    /// Whether both lie in the same file.
    pub(crate) fn shares_file(&self, other: &Stored) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
    }

    /// Tells the system that `Stored::read` is called for parts of the file here and there.
    pub fn reads_at_random(&self) {
        self.file.reads_at_random();
    }

    /// Takes the pages out of this process's resident memory. They stay readable.
    pub fn evict(&self) {
        self.file.evict(self.range.clone());
    }

    /// Takes bytes that were evicted out of the system's page cache too.
    pub fn uncache(&self) {
        self.file.uncache(self.range.clone());
    }
}

impl Deref for Stored {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.file[self.range.clone()]
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {}", self.range.len(), self.range.start)
    }
}
