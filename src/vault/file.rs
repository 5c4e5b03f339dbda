//! A file of one line that somebody else writes: a secret or a name, read again whenever it differs.

use std::path::PathBuf;

use super::error::Error;
use crate::net::blocking::run_blocking;
use crate::net::watched_file::WatchedFile;

/// A file of one line that is a secret or a name.
#[derive(Debug)]
pub(super) struct SecretFile(WatchedFile);

impl SecretFile {
    /// The file of a secret at this path; it may come later.
    pub(super) fn secret(path: PathBuf) -> Self {
        Self(WatchedFile::secret(path))
    }

    /// The file of a name at this path; it may come later.
    pub(super) fn name(path: PathBuf) -> Self {
        Self(WatchedFile::new(path))
    }

    /// True if the file has changed since it was last read.
    pub(super) async fn differs(&mut self) -> bool {
        self.with_file(WatchedFile::differs).await
    }

    /// The file's one line, without the blanks around it.
    ///
    /// # Errors
    ///
    /// If it is not there, empty, or no text.
    pub(super) async fn read(&mut self) -> Result<String, Error> {
        let read = self.with_file(WatchedFile::read).await;
        let wrong = |why: &str| Error::File {
            path: self.0.path().to_owned(),
            why: why.to_owned(),
        };
        let bytes = read.map_err(|unread| wrong(&unread.cause()))?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is no text"))?;
        match text.trim() {
            "" => Err(wrong("it is empty")),
            line if line.contains(char::is_whitespace) => Err(wrong("it holds more than one word")),
            line => Ok(line.to_owned()),
        }
    }

    /// Runs work on the file where it may block. Dropped before it is over, it leaves the file as
    /// it was.
    async fn with_file<T: Send + 'static>(&mut self, work: fn(&mut WatchedFile) -> T) -> T {
        let mut file = self.0.clone();
        let (file, result) = run_blocking(move || {
            let result = work(&mut file);
            (file, result)
        })
        .await;
        self.0 = file;
        result
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
