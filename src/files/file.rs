//! One small file: what it looks like from outside, and all of its bytes if it holds still.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The largest file that is read, in bytes. A chain of four with RSA keys of 4096 bits takes 12 KB.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// File systems keep times in steps of up to two seconds: a file that changed this short a while
/// before it was read may have changed again without looking different.
const TIME_STEP_SECONDS: i64 = 2;

/// Metadata of a file. Differs when its content does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) bytes: u64,
    pub(super) modified: (i64, i64),
    pub(super) changed: (i64, i64),
}

/// Reason for which a file was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// It cannot be read at all.
    #[error("its file cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It holds too much.
    #[error("its file is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// It changed meanwhile.
    #[error("its file keeps changing while it is read")]
    Moving,
}

impl Stamp {
    /// The metadata of the file at `path`; links are followed.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::of(&metadata))
    }

    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// True if any later change will make it differ.
    pub(super) fn is_final_at(self, now_seconds: i64) -> bool {
        self.changed.0.max(self.modified.0) + TIME_STEP_SECONDS < now_seconds
    }

    /// True if this is the same file as another, under whatever name.
    pub(super) fn is_same_file(self, other: Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// All bytes of a file that looked the same before and after, and what it looked like. Blocks.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, Stamp), Unread> {
    // Not opened before it is known to be a file: a pipe would block.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file").into());
    }
    let file = fs::File::open(path)?;
    let before = Stamp::of(&file.metadata()?);
    let mut bytes = Vec::new();
    (&file).take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    let same_file = Stamp::of(&file.metadata()?) == before;
    let same_path = Stamp::at(path)? == before;
    if bytes.len() as u64 > MAX_BYTES {
        Err(Unread::TooLarge)
    } else if same_file && same_path {
        Ok((bytes, before))
    } else {
        Err(Unread::Moving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_just_changed_is_read_again() {
        let stamp = Stamp {
            device: 1,
            inode: 1,
            bytes: 1,
            modified: (100, 0),
            changed: (90, 0),
        };
        assert!(!stamp.is_final_at(100) && !stamp.is_final_at(102));
        assert!(stamp.is_final_at(103));
    }
}
