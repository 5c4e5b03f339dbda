//! Reasons for which a record is not read or not written, each with its remedy.

use std::io;

/// Reason for which a record is not read or not written, in words behind its path.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordFault {
    /// The folder cannot be created or looked at.
    #[error("its folder cannot be used: {0}")]
    Folder(#[source] io::Error),
    /// Others may replace what is in the folder.
    #[error("others may write in its folder (owner {owner}, mode {mode:04o})")]
    OpenFolder { owner: u32, mode: u32 },
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// It is a folder, a pipe or the like.
    #[error("it is no regular file")]
    NotAFile,
    /// Others may have written it.
    #[error("others may write it (owner {owner}, mode {mode:04o})")]
    OpenFile { owner: u32, mode: u32 },
    /// It is beyond the limit.
    #[error("it has {bytes} bytes, more than {limit}")]
    TooLarge { bytes: u64, limit: u64 },
    /// It does not begin as a record does.
    #[error("it is no record of this program")]
    Foreign,
    /// It was written by a release with another format.
    #[error("it has format {found}, and this release reads format {ours}")]
    OtherFormat { found: String, ours: u32 },
    /// Its end is missing, or something follows it.
    #[error("it has {found} bytes instead of {expected}: it was cut or added to")]
    Length { expected: usize, found: usize },
    /// Its content is not what was written.
    #[error("its checksum is wrong: it was damaged or changed")]
    Damaged,
    /// It is sealed, and there is no key.
    #[error("it is sealed, and there is no key to open it")]
    NoKey,
    /// There is a key, and it is not sealed.
    #[error("it is not sealed, so that anybody may have written it")]
    NotSealed,
    /// The key does not open it.
    #[error("the key does not open it: it is of another key, or was changed")]
    WrongKey,
    /// The content says something that this release does not know, or contradicts itself.
    #[error("its content cannot be understood: {0}")]
    Content(String),
    /// It is about another Marathon.
    #[error("it is of another Marathon ({found})")]
    OtherMarathon { found: String },
    /// The record cannot be sealed, which no input causes.
    #[error("it cannot be sealed")]
    Unsealable,
    /// The file cannot be written.
    #[error("it cannot be written: {0}")]
    Unwritable(#[source] io::Error),
}

impl RecordFault {
    /// What an operator can do about it.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Folder(_) => {
                "name a folder in STATE_DIR that this user may create, read and write"
            }
            Self::OpenFolder { .. } => {
                "chmod 700 and chown it to this user, or name a folder inside of it, which is \
                 created that way"
            }
            Self::Unreadable(_) => "give the file to this user, with mode 0600",
            Self::NotAFile | Self::Foreign => {
                "name a folder in STATE_DIR that nothing else writes to"
            }
            Self::OpenFile { .. } => {
                "delete it if you do not know who wrote it; else chmod 600 and chown it to this \
                 user"
            }
            Self::TooLarge { .. } | Self::Content(_) | Self::Unsealable => {
                "report it, with the size of Marathon's list"
            }
            Self::OtherFormat { .. } | Self::Length { .. } | Self::Damaged => {
                "none is needed: it is replaced once Marathon has listed its apps"
            }
            Self::NoKey | Self::NotSealed | Self::WrongKey => {
                "if STATE_KEY_FILE was changed, none is needed: it is replaced once Marathon has \
                 listed its apps; else find out who wrote it"
            }
            Self::OtherMarathon { .. } => {
                "give each daemon a STATE_DIR of its own; if MARATHON was changed, none is needed"
            }
            Self::Unwritable(error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "free some space; the record before it is kept"
                }
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                    "let this user write in STATE_DIR, or unset it"
                }
                _ => "see to the disk; the record before it is kept",
            },
        }
    }
}
