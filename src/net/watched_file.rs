//! A small file that somebody else writes: read whole, and noticed whenever its content differs.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::clock::wall_clock;
use super::secret_file;

/// The largest file that is read, in bytes. A chain of four with RSA keys of 4096 bits takes 12 KB,
/// and some hundred authorities fit.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// File systems keep times in steps of up to two seconds: a file that changed this short a while
/// before it was read may have changed again without looking different.
const TIME_STEP_SECONDS: i64 = 2;

/// A file, and its content when it was last read. A look at it costs one `stat` unless the file
/// looks different or is younger than the clock of its file system can tell.
#[derive(Clone, Debug)]
pub struct WatchedFile {
    path: PathBuf,
    is_secret: bool,
    /// The last reading; none if the file must be read again.
    seen: Option<FileReading>,
}

/// Reason for which a file was not read, to be put behind its name.
#[derive(Debug, thiserror::Error)]
pub enum UnreadFile {
    /// It cannot be read at all.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It holds too much.
    #[error("is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    /// It changed meanwhile.
    #[error("keeps changing while it is read")]
    Moving,
}

/// State of a file at one time.
#[derive(Clone, Debug)]
struct FileReading {
    /// None if there was no file.
    stamp: Option<FileStamp>,
    /// None if the file could not be read.
    digest: Option<[u8; 32]>,
    /// True if any later change makes the stamp differ.
    is_final: bool,
}

/// Metadata of a file; links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl WatchedFile {
    /// The file at this path, not read yet; it may come later.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            is_secret: false,
            seen: None,
        }
    }

    /// The same for a file with a secret: one that others may open is reported when it is read.
    pub fn secret(path: PathBuf) -> Self {
        Self {
            is_secret: true,
            ..Self::new(path)
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True if it holds something else than when it was last read, or was never read. Blocks.
    pub fn differs(&mut self) -> bool {
        let Some(seen) = &mut self.seen else {
            return true;
        };
        let looks_the_same = FileStamp::at(&self.path).ok() == seen.stamp;
        // What is there and was not read, as when its mount was away, may be read now.
        let was_read = seen.digest.is_some() || seen.stamp.is_none();
        if looks_the_same && seen.is_final && was_read {
            return false;
        }
        let (_, now) = read(&self.path);
        if now.digest != seen.digest || now.stamp.is_none() != seen.stamp.is_none() {
            return true;
        }
        *seen = now;
        false
    }

    /// Reads all of it. Blocks.
    ///
    /// # Errors
    ///
    /// When it is no regular file of at most [`MAX_FILE_BYTES`], or changes meanwhile.
    pub fn read(&mut self) -> Result<Vec<u8>, UnreadFile> {
        let (bytes, reading) = read(&self.path);
        self.seen = match &bytes {
            Err(UnreadFile::Moving) => None,
            Ok(_) | Err(UnreadFile::Unreadable(_) | UnreadFile::TooLarge) => Some(reading),
        };
        if self.is_secret {
            secret_file::check(&self.path);
        }
        bytes
    }

    /// Has the file differ, whatever it holds.
    pub fn forget(&mut self) {
        self.seen = None;
    }

    /// True if two files that were read are the same, under whatever names.
    pub fn is_same_file(&self, other: &Self) -> bool {
        let file = |file: &Self| {
            let stamp = file.seen.as_ref()?.stamp?;
            Some((stamp.device, stamp.inode))
        };
        file(self).is_some() && file(self) == file(other)
    }

    /// Has the file look as it does now when it was last read, as on a network mount that remembers
    /// its metadata.
    #[cfg(test)]
    pub(crate) fn look_unchanged(&mut self) {
        if let Some(seen) = &mut self.seen {
            seen.stamp = FileStamp::at(&self.path).ok();
            seen.is_final = true;
        }
    }
}

impl UnreadFile {
    /// The cause alone, in words.
    pub fn cause(&self) -> String {
        match self {
            Self::Unreadable(error) => error.to_string(),
            Self::TooLarge | Self::Moving => format!("it {self}"),
        }
    }
}

impl FileStamp {
    fn at(path: &Path) -> io::Result<Self> {
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

    fn is_final_at(self, now_seconds: i64) -> bool {
        self.changed.0.max(self.modified.0) + TIME_STEP_SECONDS < now_seconds
    }
}

/// All bytes of a file, and its state. Blocks.
fn read(path: &Path) -> (Result<Vec<u8>, UnreadFile>, FileReading) {
    let now_seconds = wall_clock();
    let (bytes, stamp) = match steady_bytes(path) {
        Ok((bytes, stamp)) => (Ok(bytes), Some(stamp)),
        Err(unread) => (Err(unread), FileStamp::at(path).ok()),
    };
    let reading = FileReading {
        digest: bytes
            .as_ref()
            .ok()
            .map(|bytes| Sha256::digest(bytes).into()),
        is_final: stamp.is_none_or(|stamp| stamp.is_final_at(now_seconds)),
        stamp,
    };
    (bytes, reading)
}

/// The bytes of a file whose metadata was the same before and after, and these.
fn steady_bytes(path: &Path) -> Result<(Vec<u8>, FileStamp), UnreadFile> {
    // Not opened before it is known to be a file: a pipe would block.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file").into());
    }
    let file = fs::File::open(path)?;
    let before = FileStamp::of(&file.metadata()?);
    let mut bytes = Vec::new();
    (&file).take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    let same_file = FileStamp::of(&file.metadata()?) == before;
    let same_path = FileStamp::at(path)? == before;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        Err(UnreadFile::TooLarge)
    } else if same_file && same_path {
        Ok((bytes, before))
    } else {
        Err(UnreadFile::Moving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_just_changed_is_read_again() {
        let stamp = FileStamp {
            device: 1,
            inode: 1,
            bytes: 1,
            modified: (100, 0),
            changed: (90, 0),
        };
        assert!(!stamp.is_final_at(100) && !stamp.is_final_at(102));
        assert!(stamp.is_final_at(103));
    }

    #[test]
    fn a_file_differs_when_its_content_does_and_not_when_it_was_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut file = WatchedFile::new(path.clone());
        assert!(file.differs(), "it was never read");
        assert!(file.read().is_err() && !file.differs());
        fs::write(&path, "one").unwrap();
        assert!(file.differs());
        assert_eq!(file.read().unwrap(), b"one");
        assert!(!file.differs());
        // As many bytes, and most likely within one step of the clock.
        fs::write(&path, "two").unwrap();
        assert!(file.differs());
        assert_eq!(file.read().unwrap(), b"two");
        let next = folder.path().join("next");
        fs::write(&next, "two").unwrap();
        fs::rename(&next, &path).unwrap();
        assert!(!file.differs(), "it holds what it held");
        file.forget();
        assert!(file.differs());
        assert_eq!(file.read().unwrap(), b"two");
        fs::remove_file(&path).unwrap();
        assert!(file.differs());
    }

    #[test]
    fn a_file_that_was_there_and_could_not_be_read_is_tried_again_though_it_looks_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let mut file = WatchedFile::new(path);
        file.read().unwrap();
        // As after an error of its mount.
        file.seen.as_mut().unwrap().digest = None;
        file.look_unchanged();
        assert!(file.differs());
        assert_eq!(file.read().unwrap(), b"one");
        file.look_unchanged();
        assert!(!file.differs());
    }

    #[test]
    fn a_file_is_the_same_under_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let [one, link, other] = ["one", "link", "other"].map(|name| folder.path().join(name));
        fs::write(&one, "text").unwrap();
        fs::write(&other, "text").unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let read = |path: PathBuf| {
            let mut file = WatchedFile::new(path);
            file.read().unwrap();
            file
        };
        let (one, link, other) = (read(one), read(link), read(other));
        assert!(one.is_same_file(&link));
        assert!(!one.is_same_file(&other));
    }
}
