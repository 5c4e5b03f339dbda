//! A small file that is read for every use, and whose last good content serves on while it cannot be
//! read.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use super::blocking::run_blocking;
use super::watched_file::{UnreadFile, WatchedFile};

/// Longest wait for a reading. A network mount may hang for ever, and its file is waited for once.
const READ_LIMIT: Duration = Duration::from_secs(2);

/// A file with a secret, as text, and the last good value that was read from it.
///
/// At most one reading is under way, so a mount that hangs holds one thread.
pub struct KeptFile<T> {
    path: PathBuf,
    parse: fn(&str) -> Result<T, String>,
    state: Mutex<KeptState<T>>,
}

struct KeptState<T> {
    last: Option<Arc<T>>,
    reading: Option<PendingRead>,
    /// True if the reading that is under way was waited for in vain.
    hangs: bool,
}

type PendingRead = Pin<Box<dyn Future<Output = Result<Vec<u8>, UnreadFile>> + Send + Sync>>;

/// Value of a file.
pub struct KeptValue<T> {
    /// The value.
    pub value: Arc<T>,
    /// Reason for which it is not the content of now but the last good one; none if it is.
    pub fault: Option<String>,
}

impl<T> KeptFile<T> {
    /// The file at this path, not read yet. `parse` says in words what is wrong with a text, and
    /// repeats nothing of it.
    pub fn new(path: PathBuf, parse: fn(&str) -> Result<T, String>) -> Self {
        Self {
            path,
            parse,
            state: Mutex::new(KeptState {
                last: None,
                reading: None,
                hangs: false,
            }),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its value now, or the last good one.
    ///
    /// # Errors
    ///
    /// The fault, in words, where there never was a good one.
    ///
    /// # Cancel safety
    ///
    /// A reading goes on, and the next call takes it up.
    pub async fn read(&self) -> Result<KeptValue<T>, String> {
        let mut state = self.state.lock().await;
        // One that hangs is not waited for again, if there is something to go on with.
        let limit = match state.hangs && state.last.is_some() {
            true => Duration::ZERO,
            false => READ_LIMIT,
        };
        let reading = state.reading.get_or_insert_with(|| {
            let mut file = WatchedFile::secret(self.path.clone());
            Box::pin(run_blocking(move || file.read()))
        });
        let read = match timeout(limit, reading).await {
            Ok(read) => {
                state.reading = None;
                state.hangs = false;
                read.map_err(|unread| unread.cause())
            }
            Err(_) => {
                state.hangs = true;
                Err(format!("it could not be read within {READ_LIMIT:?}"))
            }
        };
        let text =
            read.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is no text".to_owned()));
        match (text.and_then(|text| (self.parse)(&text)), &state.last) {
            (Ok(value), _) => {
                let value = Arc::new(value);
                state.last = Some(Arc::clone(&value));
                Ok(KeptValue { value, fault: None })
            }
            (Err(fault), Some(last)) => Ok(KeptValue {
                value: Arc::clone(last),
                fault: Some(fault),
            }),
            (Err(fault), None) => Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn word(text: &str) -> Result<String, String> {
        let word = text.trim_end().to_owned();
        match word.is_empty() {
            true => Err("it holds no word".to_owned()),
            false => Ok(word),
        }
    }

    /// The value, and the fault.
    async fn read(file: &KeptFile<String>) -> (String, Option<String>) {
        let KeptValue { value, fault } = file.read().await.unwrap();
        (value.as_ref().clone(), fault)
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let file = KeptFile::new(path.clone(), word);
        assert!(file.read().await.is_err());
        fs::write(&path, "one\n").unwrap();
        assert_eq!(read(&file).await, ("one".to_owned(), None));
        fs::write(&path, "").unwrap();
        let (value, fault) = read(&file).await;
        assert_eq!(
            (value.as_str(), fault.unwrap().as_str()),
            ("one", "it holds no word")
        );
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(read(&file).await.1.unwrap(), "it is no text");
        fs::remove_file(&path).unwrap();
        let (value, fault) = read(&file).await;
        assert!(value == "one" && fault.is_some());
        fs::write(&path, "two").unwrap();
        assert_eq!(read(&file).await, ("two".to_owned(), None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_mount_that_hangs_is_waited_for_once() {
        let file = KeptFile::new("token".into(), word);
        {
            let mut state = file.state.lock().await;
            state.last = Some(Arc::new("one".to_owned()));
        }
        let (answer, hangs) = tokio::sync::oneshot::channel::<&str>();
        let reading = async {
            let text = hangs.await.unwrap();
            Ok(text.as_bytes().to_vec())
        };
        // As if a call that was dropped had begun it.
        let begun = tokio::time::Instant::now();
        file.state.lock().await.reading = Some(Box::pin(reading));
        for _ in 0..3 {
            let (value, fault) = read(&file).await;
            assert!(value == "one" && fault.unwrap().contains("within 2s"));
            assert_eq!(begun.elapsed(), READ_LIMIT);
        }
        // Without a value there is nothing to go on with: it is waited for, and not for ever.
        let last = file.state.lock().await.last.take();
        assert!(file.read().await.is_err());
        assert_eq!(begun.elapsed(), READ_LIMIT * 2);
        file.state.lock().await.last = last;
        answer.send("two").unwrap();
        assert_eq!(read(&file).await, ("two".to_owned(), None));
    }
}
