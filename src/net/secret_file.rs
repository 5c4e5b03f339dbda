//! Files with secrets that others than their owner may open: told once for each mode they have.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::throttle::{LeftOut, Throttle};

/// Read and write for the group and for all others.
const OF_OTHERS: u32 = 0o066;

/// Files that the log names in [`QUIET`], in case a folder of ten thousand is open. Of the rest it
/// has the number.
const MOST_NAMED: usize = 20;

/// Files that are remembered as told of: more than a folder of certificates has.
const MOST_REMEMBERED: usize = 10_000;

const QUIET: Duration = Duration::from_secs(60);

/// Files that the log was told of, whichever part of the process reads them.
static TOLD: LazyLock<Mutex<OpenFiles>> = LazyLock::new(Mutex::default);

/// Files that were found open to others, with the modes that the log was told of.
#[derive(Debug)]
struct OpenFiles {
    modes: BTreeMap<PathBuf, u32>,
    lines: Throttle,
}

impl Default for OpenFiles {
    fn default() -> Self {
        Self {
            modes: BTreeMap::new(),
            lines: Throttle::new(QUIET, MOST_NAMED),
        }
    }
}

impl OpenFiles {
    /// Notes the mode of a file. If the log is to be told of it, how many files were left out.
    fn note(&mut self, path: &Path, mode: u32, now: Instant) -> Option<LeftOut> {
        if mode & OF_OTHERS == 0 {
            self.modes.remove(path);
            return None;
        }
        if self.modes.get(path) == Some(&mode) {
            return None;
        }
        let subject = format!("{mode:o} {}", path.display());
        let left_out = self.lines.admit(&subject, now)?;
        if self.modes.len() >= MOST_REMEMBERED {
            // Names that come and go; those that stay are told once more.
            self.modes.clear();
        }
        self.modes.insert(path.to_owned(), mode);
        Some(left_out)
    }
}

/// Warns of a file that holds a key, a token or a password and that others may open: once, and
/// again when its mode has changed. Links are followed. Blocks.
pub(super) fn check(path: &Path) {
    // What cannot be looked at was just read; whoever reads it says what is wrong.
    let Ok(found) = std::fs::metadata(path) else {
        return;
    };
    let mode = found.mode() & 0o7777;
    // Nothing panics while it is held.
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    let news = told.note(path, mode, Instant::now());
    drop(told);
    if let Some(left_out) = news {
        warn!(
            file = %path.display(),
            mode = %format_args!("{mode:04o}"),
            remedy = "chmod 600, owned by the user of this daemon; who could read it so far has it",
            left_out = left_out.count(),
            "a file with a secret is open to others"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    /// The number of lines that were left out before a line that is written.
    fn noted(files: &mut OpenFiles, path: &Path, mode: u32, now: Instant) -> Option<u64> {
        let left_out = files.note(path, mode, now)?;
        Some(left_out.count().map_or(0, NonZeroU64::get))
    }

    #[test]
    fn an_open_file_is_told_once_for_each_mode() {
        let mut files = OpenFiles::default();
        let mut now = Instant::now();
        let mut note = |mode| {
            // Long after the last look: what is told is told for good.
            now += QUIET;
            noted(&mut files, Path::new("/key"), mode, now)
        };
        for private in [0o600, 0o400, 0o700, 0o711] {
            assert_eq!(note(private), None, "{private:o}");
        }
        assert_eq!(note(0o644), Some(0));
        assert_eq!(note(0o644), None);
        assert_eq!(note(0o640), Some(0));
        assert_eq!(note(0o602), Some(0), "who may write it may replace it");
        assert_eq!(note(0o600), None);
    }

    #[test]
    fn it_is_told_again_after_it_was_closed_and_a_while_later() {
        let mut files = OpenFiles::default();
        let now = Instant::now();
        let key = Path::new("/key");
        assert_eq!(noted(&mut files, key, 0o644, now), Some(0));
        assert_eq!(noted(&mut files, key, 0o600, now), None);
        assert_eq!(noted(&mut files, key, 0o644, now + QUIET), Some(0));
    }

    #[test]
    fn of_very_many_files_some_are_named_and_the_rest_counted() {
        let mut files = OpenFiles::default();
        let now = Instant::now();
        let paths: Vec<_> = (0..MOST_NAMED + 5)
            .map(|n| PathBuf::from(format!("/{n}")))
            .collect();
        let told = paths.iter().filter_map(|path| files.note(path, 0o644, now));
        assert_eq!(told.count(), MOST_NAMED);
        let later = paths.last().unwrap();
        assert_eq!(noted(&mut files, later, 0o644, now + QUIET), Some(5));
    }

    #[test]
    fn files_that_come_and_go_are_forgotten() {
        let mut files = OpenFiles::default();
        let mut now = Instant::now();
        for n in 0..MOST_REMEMBERED + 5 {
            let path = PathBuf::from(format!("/{n}"));
            assert!(noted(&mut files, &path, 0o644, now).is_some());
            now += QUIET;
        }
        assert_eq!(files.modes.len(), 5);
    }
}
