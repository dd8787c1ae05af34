//! From one header to the next.

use std::io::{self, BufRead};

use tar::{EntryType, Header};

use super::extensions::Extensions;
use super::padding;

/// An entry, as its own header and those before it have it. Nothing in it has been checked.
#[derive(Debug)]
pub struct Head {
    /// The path.
    pub path: Vec<u8>,
    /// What it points to, if it is a link.
    pub link: Vec<u8>,
    /// How many bytes of contents it says that it has.
    pub size: u64,
    /// Whether PAX records say that it is a sparse file, whose contents then begin with a map.
    pub is_sparse_in_pax: bool,
    /// The header, whose checksum is right.
    pub header: Header,
}

/// Why there is no next header.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The archive cannot be read.
    #[error(transparent)]
    Read(io::Error),
    /// It ends where something has to follow.
    #[error("the archive breaks off")]
    BreaksOff,
    /// Something is there that is no header.
    #[error("a header has a wrong checksum")]
    Checksum,
    /// A header is such that two readers could see two things in it, or nothing.
    #[error("{0}")]
    Invalid(&'static str),
    /// An extension header has more bytes than are allowed.
    #[error("an extension header has {size} bytes, more than the {limit} that are allowed")]
    TooLong {
        /// How many it has.
        size: u64,
        /// How many it may have.
        limit: u64,
    },
    /// There are more headers than are allowed.
    #[error("there are more than the {0} headers that are allowed")]
    TooMany(u64),
}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::BreaksOff } else { Self::Read(error) }
    }
}

/// What an archive is read from.
pub trait Input {
    /// Reads a whole block, if anything is left.
    ///
    /// # Errors
    /// [`HeaderError::BreaksOff`] when there is less than a block, [`HeaderError::Read`] when it cannot be read.
    fn block(&mut self, block: &mut [u8]) -> Result<bool, HeaderError>;

    /// Fills `bytes`.
    ///
    /// # Errors
    /// [`HeaderError::BreaksOff`] when there are fewer, [`HeaderError::Read`] when they cannot be read.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), HeaderError>;

    /// Passes over so many bytes.
    ///
    /// # Errors
    /// [`HeaderError::BreaksOff`] when there are fewer, [`HeaderError::Read`] when they cannot be read.
    fn skip(&mut self, size: u64) -> Result<(), HeaderError>;
}

impl<R: BufRead> Input for R {
    fn block(&mut self, block: &mut [u8]) -> Result<bool, HeaderError> {
        if self.fill_buf().map_err(HeaderError::Read)?.is_empty() {
            return Ok(false);
        }
        self.fill(block).map(|()| true)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), HeaderError> {
        Ok(self.read_exact(bytes)?)
    }

    fn skip(&mut self, size: u64) -> Result<(), HeaderError> {
        let mut left = size;
        while left > 0 {
            let available = self.fill_buf().map_err(HeaderError::Read)?.len() as u64;
            if available == 0 {
                return Err(HeaderError::BreaksOff);
            }
            let length = available.min(left);
            self.consume(length as usize);
            left -= length;
        }
        Ok(())
    }
}

/// Reads the headers of an archive of any origin: ustar, PAX, GNU's long names, and what came before.
#[derive(Debug)]
pub struct Headers {
    limit: u64,
    extension_limit: u64,
    found: u64,
}

impl Headers {
    /// Of an archive that has at most `limit` headers, and at most `extension_limit` bytes in each that extends the one
    /// after it: so much is held in memory.
    #[must_use]
    pub fn new(limit: u64, extension_limit: u64) -> Self {
        Self { limit, extension_limit, found: 0 }
    }

    /// The next entry, or nothing at the end of the archive: two zero blocks, or the end of `input`.
    ///
    /// `input` is then where the entry's contents begin, if it has any. To read those or pass over them, and what fills
    /// up their last block, is left to the caller.
    ///
    /// # Errors
    /// When the archive breaks off, has too much of something, or headers in which readers could see different things.
    pub fn next(&mut self, input: &mut impl Input) -> Result<Option<Head>, HeaderError> {
        let mut extensions = Extensions::default();
        loop {
            let Some(header) = self.header(input)? else {
                return if extensions.is_empty() { Ok(None) } else { Err(HeaderError::BreaksOff) };
            };
            let size = size(&header)?;
            match header.entry_type() {
                kind @ (EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader) => {
                    extensions.add(kind, self.extension(input, size)?)?;
                }
                // Comments, mostly. What it might say of paths and sizes, no reader of images heeds.
                EntryType::XGlobalHeader => input.skip(size.saturating_add(padding(size)))?,
                _ => return extensions.head(header, size).map(Some),
            }
        }
    }

    fn header(&mut self, input: &mut impl Input) -> Result<Option<Header>, HeaderError> {
        let is_zero = |header: &Header| header.as_bytes().iter().all(|&byte| byte == 0);
        let mut header = Header::new_old();
        if !input.block(header.as_mut_bytes())? {
            return Ok(None);
        }
        if is_zero(&header) {
            let goes_on = input.block(header.as_mut_bytes())? && !is_zero(&header);
            let problem = HeaderError::Invalid("a block of zeros is followed by something else");
            return if goes_on { Err(problem) } else { Ok(None) };
        }
        let bytes = header.as_bytes();
        let sum = bytes[..148].iter().chain(&bytes[156..]).fold(8 * 32, |sum, &byte| sum + u32::from(byte));
        if header.cksum().ok() != Some(sum) {
            return Err(HeaderError::Checksum);
        }
        self.found += 1;
        if self.found > self.limit { Err(HeaderError::TooMany(self.limit)) } else { Ok(Some(header)) }
    }

    /// Reads what an extension header carries.
    fn extension(&self, input: &mut impl Input, size: u64) -> Result<Vec<u8>, HeaderError> {
        if size > self.extension_limit {
            return Err(HeaderError::TooLong { size, limit: self.extension_limit });
        }
        let mut bytes = vec![0; size as usize];
        input.fill(&mut bytes)?;
        input.skip(padding(size))?;
        Ok(bytes)
    }
}

/// The size in a header. Of numbers in binary, the `tar` crate reads the lowest eight bytes, whatever the rest say.
fn size(header: &Header) -> Result<u64, HeaderError> {
    let field = &header.as_old().size;
    let (high, low) = field.split_at(4);
    match high {
        [0x80, 0, 0, 0] => Ok(low.iter().fold(0, |size, &byte| size << 8 | u64::from(byte))),
        [0x80..=0xff, ..] => Err(HeaderError::Invalid("a header has a size that is negative or too large")),
        _ if field.iter().all(|byte| matches!(byte, 0 | b' ')) => Ok(0),
        _ => header.entry_size().map_err(|_| HeaderError::Invalid("a header has a size that is no number")),
    }
}
