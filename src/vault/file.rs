//! A small file that somebody else writes: read again whenever it differs.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::error::Error;
use crate::net::secret_file;

/// The most bytes of such a file. Certificates with their chain are the largest, at some 10 KB; a
/// folder of authorities has one file for each.
const MAX_BYTES: u64 = 1 << 20;

/// Metadata of a file; differs when its content does, or when another was renamed to its name. None
/// while it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileStamp(Option<[i64; 7]>);

impl FileStamp {
    /// The metadata now. Blocks.
    pub(super) fn of(path: &Path) -> Self {
        let metadata = std::fs::metadata(path).ok();
        Self(metadata.map(|found| {
            let number = |number: u64| i64::from_ne_bytes(number.to_ne_bytes());
            [
                number(found.dev()),
                number(found.ino()),
                number(found.size()),
                found.mtime(),
                found.mtime_nsec(),
                found.ctime(),
                found.ctime_nsec(),
            ]
        }))
    }
}

/// The whole of such a file. Blocks.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let wrong = |why: String| Error::File {
        path: path.to_owned(),
        why,
    };
    let read = || -> io::Result<Option<Vec<u8>>> {
        let found = std::fs::metadata(path)?;
        // A pipe would block.
        if !found.is_file() || found.len() > MAX_BYTES {
            return Ok(None);
        }
        std::fs::read(path).map(Some)
    };
    match read() {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(wrong("it is no file of at most a megabyte".to_owned())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// Runs blocking work on the blocking pool.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only at shutdown.
            Err(_) => std::future::pending().await,
        },
    }
}

/// A file of one line that is a secret or a name.
#[derive(Debug)]
pub(super) struct SecretFile {
    path: PathBuf,
    is_secret: bool,
    stamp: Option<FileStamp>,
}

impl SecretFile {
    /// The file of a secret at this path; it may come later.
    pub(super) fn secret(path: PathBuf) -> Self {
        Self {
            path,
            is_secret: true,
            stamp: None,
        }
    }

    /// The file of a name at this path; it may come later.
    pub(super) fn name(path: PathBuf) -> Self {
        Self {
            path,
            is_secret: false,
            stamp: None,
        }
    }

    /// True if the file has changed since it was last read.
    pub(super) async fn differs(&self) -> bool {
        let path = self.path.clone();
        let stamp = run_blocking(move || Ok(FileStamp::of(&path))).await;
        // The look itself has no error.
        stamp.is_ok_and(|stamp| self.stamp.as_ref() != Some(&stamp))
    }

    /// The file's one line, without the blanks around it.
    ///
    /// # Errors
    ///
    /// When it is not there, empty, or no text.
    pub(super) async fn read(&mut self) -> Result<String, Error> {
        let path = self.path.clone();
        // Stamped before it is read: what is written meanwhile makes it differ.
        let is_secret = self.is_secret;
        let reading = run_blocking(move || {
            let (stamp, read) = (FileStamp::of(&path), read(&path));
            if is_secret {
                secret_file::check(&path);
            }
            Ok((stamp, read))
        });
        let (stamp, read) = reading.await?;
        self.stamp = Some(stamp);
        let wrong = |why: &str| Error::File {
            path: self.path.clone(),
            why: why.to_owned(),
        };
        let text = String::from_utf8(read?).map_err(|_| wrong("it is no text"))?;
        match text.trim() {
            "" => Err(wrong("it is empty")),
            line if line.contains(char::is_whitespace) => Err(wrong("it holds more than one word")),
            line => Ok(line.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_read_again_when_another_file_is_renamed_to_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let mut line = SecretFile::secret(path.clone());
        assert!(line.read().await.is_err() && !line.differs().await);
        std::fs::write(&path, " one\n").unwrap();
        assert!(line.differs().await);
        assert_eq!(line.read().await.unwrap(), "one");
        assert!(!line.differs().await);
        let next = folder.path().join("next");
        std::fs::write(&next, "two\n").unwrap();
        std::fs::rename(&next, &path).unwrap();
        assert!(line.differs().await, "as many bytes");
        assert_eq!(line.read().await.unwrap(), "two");
        std::fs::write(&path, "canary one two").unwrap();
        let error = line.read().await.unwrap_err().to_string();
        assert!(error.contains("more than one word") && !error.contains("canary"));
        std::fs::remove_file(&path).unwrap();
        assert!(line.differs().await);
    }
}
