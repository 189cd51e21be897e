//! How a file that was written anew is told from one that was not, without reading it.

use std::{fs::Metadata, io, os::unix::fs::MetadataExt, path::Path};

/// What a file looks like from outside. Two that are equal hold the same, unless somebody writes as many bytes into the
/// same file and sets its time back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Bytes.
    len: u64,
    /// Last change, in seconds and nanoseconds since the epoch.
    modified: (i64, i64),
    /// The file system and the file in it: a file that is moved into place is another one.
    inode: (u64, u64),
}

impl Stamp {
    /// Of a file now; links are followed.
    ///
    /// # Errors
    /// [`io::Error`] if it cannot be looked at.
    pub fn of(file: &Path) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            inode: (metadata.dev(), metadata.ino()),
        }
    }
}
