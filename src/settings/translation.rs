//! Settings that decide what becomes of apps, for commands that serve nothing.

use std::path::{Path, PathBuf};

use super::bad_setting::BadSetting;
use super::files::given;
use super::typed::Typed;
use crate::{labels, resources};

/// Settings that decide what becomes of apps, without those of the daemon's own ports.
#[derive(Clone, Debug)]
pub struct Translation {
    /// Reading of labels.
    pub labels: labels::Config,
    /// Writing of Envoy's resources.
    pub resources: resources::Config,
    /// Folder with certificates of domains, if any.
    pub certificates: Option<PathBuf>,
}

impl Typed {
    /// Checks the settings that decide what becomes of apps, and leaves all others alone.
    ///
    /// # Errors
    ///
    /// The first of these settings that is refused.
    pub fn translation(&self) -> Result<Translation, BadSetting> {
        Ok(Translation {
            labels: self.labels()?,
            resources: self.resources(self.link.refresh_delay()?)?,
            certificates: given(&self.certificates_dir).map(Path::to_owned),
        })
    }
}
