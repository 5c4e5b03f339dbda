//! Settings of the record of the last known good configuration.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::bad_setting::BadSetting;
use super::files::given;
use super::typed::Typed;
use crate::marathon::BaseUrl;
use crate::record::{Config, SealingKey};

const DIR: &str = "STATE_DIR";
const KEY_FILE: &str = "STATE_KEY_FILE";

/// Read and write for the group and for all others.
const OF_OTHERS: u32 = 0o066;

impl Typed {
    /// The configuration of the record about these Marathons, if there is one. A folder that cannot
    /// be used is a warning of the running daemon: it serves all the same.
    pub(super) fn record(
        &self,
        marathons: &[BaseUrl],
        reads_store: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Config>, BadSetting> {
        let key_file = given(&self.state_key_file);
        let Some(folder) = given(&self.state_dir) else {
            return match key_file {
                None => Ok(None),
                Some(file) => Err(bad(
                    KEY_FILE,
                    file,
                    format!("there is no record to seal: {DIR} is not set"),
                    "set STATE_DIR as well, or take it away",
                )),
            };
        };
        if folder.exists() && !folder.is_dir() {
            return Err(bad(
                DIR,
                folder,
                "it is no folder".into(),
                "name a folder of its own, which is created if it is missing",
            ));
        }
        let key = match key_file {
            Some(file) => Some(key(file, folder, warnings)?),
            None => None,
        };
        if key.is_none() && reads_store {
            warnings.push(format!(
                "{DIR} without {KEY_FILE}: certificates from Vault are not recorded, so a start \
                 without Vault waits for it"
            ));
        }
        let marathons = marathons.iter().map(ToString::to_string).collect();
        Ok(Some(Config::new(folder.to_owned(), key, marathons)))
    }
}

/// The key in a file that lies elsewhere than the record.
fn key(file: &Path, folder: &Path, warnings: &mut Vec<String>) -> Result<SealingKey, BadSetting> {
    if file.starts_with(folder) {
        return Err(bad(
            KEY_FILE,
            file,
            format!("it lies beside what it seals, in {DIR}"),
            "keep it where whoever has the folder does not have it",
        ));
    }
    let remedy = "name a file of 32 random bytes that this user may read, as `openssl rand 32` \
                  writes them";
    let unread = |error| {
        bad(
            KEY_FILE,
            file,
            format!("it cannot be read ({error})"),
            remedy,
        )
    };
    let metadata = std::fs::metadata(file).map_err(unread)?;
    if metadata.mode() & OF_OTHERS != 0 {
        warnings.push(format!(
            "{KEY_FILE}={}: others may read or write it; chmod 600, owned by the user of this \
             daemon",
            file.display()
        ));
    }
    let bytes = std::fs::read(file).map_err(unread)?;
    SealingKey::parse(&bytes).map_err(|error| bad(KEY_FILE, file, error.to_string(), remedy))
}

fn bad(variable: &'static str, path: &Path, why: String, remedy: &'static str) -> BadSetting {
    BadSetting {
        variable,
        value: path.display().to_string(),
        why,
        remedy,
    }
}
