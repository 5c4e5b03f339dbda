//! The file of a record and its folder: replaced as a whole, read with a limit, trusted only where
//! nobody else can write. Everything here blocks.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::fault::RecordFault;

/// The name of the record.
const RECORD: &str = "world";

/// The name of the next record until it is whole.
const NEXT: &str = "world.new";

/// The largest record that is read or written, in bytes: twenty times one of 10,000 apps.
pub(super) const MAX_BYTES: u64 = 256 << 20;

const ROOT: u32 = 0;

/// Write for the group and for all others.
const WRITE_OF_OTHERS: u32 = 0o022;

/// Returns the path of the record in a folder.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join(RECORD)
}

/// Reads the record; none if there is none.
///
/// # Errors
///
/// When it is beyond `limit`, cannot be read, or may be of somebody else.
pub(super) fn read(folder: &Path, limit: u64) -> Result<Option<Vec<u8>>, RecordFault> {
    let opened = OpenOptions::new()
        .read(true)
        // A link would lead past the folder's owner; the open of a pipe would wait for its writer.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path(folder));
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(RecordFault::NotAFile);
        }
        Err(error) => return Err(RecordFault::Unreadable(error)),
    };
    check_folder(folder)?;
    let metadata = file.metadata().map_err(RecordFault::Unreadable)?;
    if !metadata.is_file() {
        return Err(RecordFault::NotAFile);
    }
    if is_open(&metadata) {
        return Err(RecordFault::OpenFile {
            owner: metadata.uid(),
            mode: metadata.mode() & 0o7777,
        });
    }
    let too_large = |bytes| RecordFault::TooLarge { bytes, limit };
    if metadata.len() > limit {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    let taken = file.take(limit + 1).read_to_end(&mut bytes);
    match taken.map_err(RecordFault::Unreadable)? as u64 {
        grown if grown > limit => Err(too_large(grown)),
        _ => Ok(Some(bytes)),
    }
}

/// Replaces the record: whoever reads it, also after a power failure, finds the one before or the
/// new one, whole. Creates the folder if it is missing.
///
/// # Errors
///
/// When it cannot be written. The record before it is kept.
pub(super) fn write(folder: &Path, record: &[u8]) -> Result<(), RecordFault> {
    write_through(folder, record, |next| {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(next)
    })
}

/// [`write`](fn@write) with the way to open the next record.
fn write_through(
    folder: &Path,
    record: &[u8],
    open: impl FnOnce(&Path) -> io::Result<File>,
) -> Result<(), RecordFault> {
    let bytes = record.len() as u64;
    if bytes > MAX_BYTES {
        let limit = MAX_BYTES;
        return Err(RecordFault::TooLarge { bytes, limit });
    }
    let mut creation = DirBuilder::new();
    let created = creation.recursive(true).mode(0o700).create(folder);
    created.map_err(RecordFault::Folder)?;
    check_folder(folder)?;
    let next = folder.join(NEXT);
    // Left behind by a process that was killed.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(RecordFault::Unwritable(error));
        }
        Ok(()) | Err(_) => {}
    }
    let replaced = open(&next).and_then(|mut file| {
        file.write_all(record)?;
        file.sync_all()?;
        fs::rename(&next, path(folder))?;
        // The new name is as lasting as the content.
        File::open(folder)?.sync_all()
    });
    replaced.map_err(|error| {
        // Best effort: the next write tries again, and says why if it cannot.
        let _ = fs::remove_file(&next);
        RecordFault::Unwritable(error)
    })
}

/// Refuses a folder in which others may replace the record.
fn check_folder(folder: &Path) -> Result<(), RecordFault> {
    let metadata = fs::metadata(folder).map_err(RecordFault::Folder)?;
    if is_open(&metadata) {
        return Err(RecordFault::OpenFolder {
            owner: metadata.uid(),
            mode: metadata.mode() & 0o7777,
        });
    }
    Ok(())
}

/// True if somebody besides this user and root may write it.
fn is_open(metadata: &Metadata) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let is_trusted = [own, ROOT].contains(&metadata.uid());
    !is_trusted || metadata.mode() & WRITE_OF_OTHERS != 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use tempfile::TempDir;

    use super::*;

    /// A folder that is not there yet.
    fn folder() -> (TempDir, PathBuf) {
        let parent = TempDir::new().unwrap();
        let folder = parent.path().join("state");
        (parent, folder)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    /// The reason for which the record is not read.
    fn refused(folder: &Path) -> String {
        read(folder, MAX_BYTES).unwrap_err().to_string()
    }

    #[test]
    fn a_record_is_replaced_as_a_whole_and_private() {
        let (_parent, folder) = folder();
        assert_eq!(read(&folder, MAX_BYTES).unwrap(), None);
        for content in ["one", "another"] {
            write(&folder, content.as_bytes()).unwrap();
            let found = read(&folder, MAX_BYTES).unwrap();
            assert_eq!(found.unwrap(), content.as_bytes());
            assert_eq!(names(&folder), [RECORD]);
        }
        assert_eq!((mode(&folder), mode(&path(&folder))), (0o700, 0o600));
    }

    #[test]
    fn a_full_disk_leaves_the_record_before() {
        let (_parent, folder) = folder();
        write(&folder, b"before").unwrap();
        let full = |next: &Path| {
            fs::write(next, "aft")?;
            OpenOptions::new().write(true).open("/dev/full")
        };
        let fault = write_through(&folder, b"after", full).unwrap_err();
        assert!(
            matches!(&fault, RecordFault::Unwritable(error) if error.kind() == io::ErrorKind::StorageFull)
        );
        assert!(fault.remedy().contains("free some space"));
        assert_eq!(read(&folder, MAX_BYTES).unwrap().unwrap(), b"before");
        assert_eq!(names(&folder), [RECORD]);
    }

    #[test]
    fn what_a_killed_process_left_behind_is_no_hindrance() {
        let (_parent, folder) = folder();
        write(&folder, b"before").unwrap();
        let elsewhere = folder.join("elsewhere");
        symlink(&elsewhere, folder.join(NEXT)).unwrap();
        write(&folder, b"after").unwrap();
        assert_eq!(read(&folder, MAX_BYTES).unwrap().unwrap(), b"after");
        assert!(!elsewhere.exists(), "a link was followed");
    }

    #[test]
    fn what_others_may_write_is_not_read() {
        let (_parent, folder) = folder();
        write(&folder, b"record").unwrap();
        for mode in [0o620, 0o602, 0o666] {
            set_mode(&path(&folder), mode);
            assert!(refused(&folder).starts_with("others may write it"));
        }
        set_mode(&path(&folder), 0o644);
        assert!(read(&folder, MAX_BYTES).is_ok());
        set_mode(&folder, 0o770);
        assert!(refused(&folder).starts_with("others may write in its folder"));
        let fault = write(&folder, b"record").unwrap_err();
        assert!(matches!(fault, RecordFault::OpenFolder { mode: 0o770, .. }));
    }

    #[test]
    fn only_a_file_of_a_bounded_size_is_read() {
        let (_parent, folder) = folder();
        write(&folder, b"record").unwrap();
        let limit = |bytes| {
            read(&folder, bytes)
                .map(|_| ())
                .map_err(|fault| fault.to_string())
        };
        assert_eq!(limit(6), Ok(()));
        assert_eq!(limit(5), Err("it has 6 bytes, more than 5".to_owned()));
        fs::rename(path(&folder), folder.join("other")).unwrap();
        symlink(folder.join("other"), path(&folder)).unwrap();
        assert_eq!(refused(&folder), "it is no regular file");
        fs::remove_file(path(&folder)).unwrap();
        fs::create_dir(path(&folder)).unwrap();
        assert_eq!(refused(&folder), "it is no regular file");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told_as_such() {
        let parent = TempDir::new().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        let fault = write(&file.join("state"), b"record").unwrap_err();
        assert!(matches!(fault, RecordFault::Folder(_)), "{fault}");
    }
}
