//! The KV engine that holds the certificates: which version it is, and where in it each one lies.

use serde::Deserialize;
use tracing::info;
use vaultrs::api::kv1::requests::GetSecretRequest;
use vaultrs::api::kv2::requests::ReadSecretRequest;

use super::client::{Client, Error, What};
use super::config::{Config, KvVersion, Store};
use super::error::Missing;
use super::name::Name;
use super::wire::{BadSecret, KvSecret};

/// Reads secrets below one path of one mount.
pub(super) struct Engine {
    client: Client,
    /// Who answers, for messages.
    host: String,
    mount: String,
    prefix: String,
    configured: KvVersion,
    /// As far as it is known.
    version: Option<Version>,
}

/// A version of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// What is in a path.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kept {
    /// A secret.
    Secret(KvSecret),
    /// Nothing, and as far as Vault says there never was anything.
    Nothing,
    /// Nothing any more.
    Deleted,
}

/// What `sys/internal/ui/mounts` says of a mount, as far as it matters.
#[derive(Deserialize)]
struct Mount {
    options: Option<Options>,
}

#[derive(Deserialize)]
struct Options {
    version: Option<String>,
}

impl Engine {
    /// The engine in which this store is.
    pub(super) fn new(client: Client, config: &Config, store: &Store) -> Self {
        Self {
            client,
            host: config.address.to_string(),
            mount: store.mount.clone(),
            prefix: store.prefix.clone(),
            configured: store.version,
            version: match store.version {
                KvVersion::Detect => None,
                KvVersion::One => Some(Version::One),
                KvVersion::Two => Some(Version::Two),
            },
        }
    }

    /// The list of certificates. Finds the version of the engine first if it is not known: a mount
    /// may be upgraded, and then old paths lead nowhere. Cancel safe.
    ///
    /// # Errors
    ///
    /// When Vault does not answer, or not with a secret.
    pub(super) async fn live(&mut self) -> Result<Kept, Error> {
        if self.version.is_none() {
            self.version = self.detect().await?;
        }
        // Without a version there is no list at either path.
        let Some(version) = self.version else {
            return Ok(Kept::Nothing);
        };
        let read = self.read(version, What::Live, "live").await;
        let is_other = read.as_ref().err().and_then(Error::missing) == Some(Missing::HasVersions);
        if is_other && self.configured == KvVersion::Detect {
            self.version = None;
        }
        read
    }

    /// The certificate of this name. Cancel safe.
    ///
    /// # Errors
    ///
    /// As of [`live`](Self::live).
    pub(super) async fn certificate(&self, name: &Name) -> Result<Kept, Error> {
        // There is no list before the version is known, and so no name.
        let version = self.version.unwrap_or(Version::Two);
        let path = format!("certificates/{name}");
        self.read(version, What::Certificate, &path).await
    }

    /// Where the list is, as a policy spells it.
    pub(super) fn path(&self) -> String {
        let list = self.below("live");
        match self.version {
            Some(Version::One) => format!("{}/{list}", self.mount),
            Some(Version::Two) | None => format!("{}/data/{list}", self.mount),
        }
    }

    /// The path of a secret in the mount.
    fn below(&self, path: &str) -> String {
        match self.prefix.as_str() {
            "" => path.to_owned(),
            prefix => format!("{prefix}/{path}"),
        }
    }

    async fn read(&self, version: Version, what: What, path: &str) -> Result<Kept, Error> {
        let (mount, path) = (self.mount.clone(), self.below(path));
        let answer = match version {
            Version::One => {
                let request = GetSecretRequest { mount, path };
                self.client.ask(what, request).await
            }
            Version::Two => {
                let version = None;
                let request = ReadSecretRequest {
                    mount,
                    path,
                    version,
                };
                self.client.ask(what, request).await
            }
        };
        let secret = match answer {
            Ok(answer) => match version {
                Version::One => KvSecret::unversioned(answer.data),
                Version::Two => KvSecret::versioned(answer.data),
            },
            Err(Error::Missing(Missing::Nothing)) => return Ok(Kept::Nothing),
            Err(Error::Missing(Missing::Deleted)) => return Ok(Kept::Deleted),
            Err(error) => return Err(error),
        };
        match secret {
            Ok(secret) => Ok(Kept::Secret(secret)),
            Err(BadSecret::Deleted) => Ok(Kept::Deleted),
            Err(BadSecret::Shapeless) => Err(self.unreadable("its data are no object")),
            Err(BadSecret::Unversioned) => Err(self.unreadable(
                "its data are not those of an engine with versions (VAULT_KV_VERSION)",
            )),
        }
    }

    fn unreadable(&self, why: &'static str) -> Error {
        Error::Unreadable {
            host: self.host.clone(),
            why,
        }
    }

    /// The version of the engine; none if the list is at neither path.
    async fn detect(&self) -> Result<Option<Version>, Error> {
        // What `vault kv` asks; vaultrs has no endpoint for it.
        let path = format!("sys/internal/ui/mounts/{}", self.mount);
        let found = match self.client.read(What::Mount, &path).await {
            Ok(answer) => {
                let mount: Mount = serde_json::from_value(answer.data)
                    .map_err(|_| self.unreadable("it does not describe a mount"))?;
                let version = mount.options.and_then(|options| options.version);
                Some(match version.as_deref() {
                    Some("2") => Version::Two,
                    Some(_) | None => Version::One,
                })
            }
            // The policy has nothing for the mount itself, or Vault is older than 0.10.
            Err(error)
                if error.denied() || error.missing().is_some() || error.refused().is_some() =>
            {
                self.detect_by_reading().await?
            }
            Err(error) => return Err(error),
        };
        if let Some(version) = found {
            info!(
                mount = self.mount,
                version = version.number(),
                "kv engine found"
            );
        }
        Ok(found)
    }

    /// The same from what is at the list's path in each version. A policy that fits one of them
    /// forbids the other, which Vault answers before it looks.
    async fn detect_by_reading(&self) -> Result<Option<Version>, Error> {
        let denied = match self.read(Version::Two, What::Live, "live").await {
            Ok(Kept::Secret(_) | Kept::Deleted) => return Ok(Some(Version::Two)),
            Ok(Kept::Nothing) => None,
            Err(error) if error.denied() => Some(error),
            Err(error) => return Err(error),
        };
        match self.read(Version::One, What::Live, "live").await {
            Ok(Kept::Secret(_) | Kept::Deleted) => Ok(Some(Version::One)),
            Ok(Kept::Nothing) => Ok(None),
            Err(error) if error.missing() == Some(Missing::HasVersions) => Ok(Some(Version::Two)),
            Err(error) if error.denied() => denied.map_or(Ok(None), Err),
            Err(error) => Err(error),
        }
    }
}

impl Version {
    fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}
