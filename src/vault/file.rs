//! A file of one line that somebody else writes: a secret or a name, read again whenever it differs.

use std::path::PathBuf;

use super::error::Error;
use crate::net::blocking_files::BlockingFiles;
use crate::net::watched_file::WatchedFile;

/// A file of one line that is a secret or a name.
#[derive(Debug)]
pub(super) struct SecretFile {
    path: PathBuf,
    file: BlockingFiles<WatchedFile>,
}

impl SecretFile {
    /// The file of a secret at this path; it may come later.
    pub(super) fn secret(path: PathBuf) -> Self {
        Self::watched(WatchedFile::secret(path))
    }

    /// The file of a name at this path; it may come later.
    pub(super) fn name(path: PathBuf) -> Self {
        Self::watched(WatchedFile::new(path))
    }

    fn watched(file: WatchedFile) -> Self {
        let path = file.path().to_owned();
        Self {
            file: BlockingFiles::new(path.display().to_string(), file, WatchedFile::forget),
            path,
        }
    }

    /// True if the file has changed since it was last read. One that hangs has not.
    pub(super) async fn differs(&mut self) -> bool {
        self.file.look(WatchedFile::differs).await.unwrap_or(false)
    }

    /// The file's one line, without the blanks around it.
    ///
    /// # Errors
    ///
    /// If it is not there, hangs, is empty, or no text.
    pub(super) async fn read(&mut self) -> Result<String, Error> {
        let read = self.file.look(WatchedFile::read).await;
        let wrong = |why: &str| Error::File {
            path: self.path.clone(),
            why: why.to_owned(),
        };
        let bytes = read
            .map_err(|hung| wrong(&hung.to_string()))?
            .map_err(|unread| wrong(&unread.cause()))?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is no text"))?;
        match text.trim() {
            "" => Err(wrong("it is empty")),
            line if line.contains(char::is_whitespace) => Err(wrong("it holds more than one word")),
            line => Ok(line.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::net::blocking_files::LOOK_LIMIT;

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

    #[tokio::test(start_paused = true)]
    async fn a_file_that_hangs_does_not_differ_and_is_read_once_it_answers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one").unwrap();
        let mut line = SecretFile::secret(path.clone());
        assert_eq!(line.read().await.unwrap(), "one");
        std::fs::write(&path, "two").unwrap();
        let file = line.file.files();
        let hung = file.lock().unwrap();
        {
            let mut look = std::pin::pin!(line.differs());
            assert_eq!(look.as_mut().now_or_never(), None);
            tokio::time::advance(LOOK_LIMIT).await;
            assert!(!look.await);
        }
        let error = line.read().now_or_never().unwrap().unwrap_err();
        assert!(error.to_string().contains("reading it hangs"), "{error}");
        drop(hung);
        while !line.differs().await {
            tokio::task::yield_now().await;
        }
        assert_eq!(line.read().await.unwrap(), "two");
    }
}
