//! The KV mount that holds the certificates: its version, and the path of each secret.

use serde::Deserialize;
use tracing::info;
use vaultrs::api::kv1::requests::GetSecretRequest;
use vaultrs::api::kv2::requests::ReadSecretRequest;

use super::client::{Error, RequestKind, VaultClient};
use super::config::{CertificateStore, Config, KvVersion};
use super::error::Missing;
use super::name::CertificateName;
use super::wire::{BadSecret, KvSecret};

/// Reads secrets below one path of one mount.
pub(super) struct KvMount {
    client: VaultClient,
    /// Address of Vault, for messages.
    host: String,
    mount: String,
    prefix: String,
    configured: KvVersion,
    /// As far as it is known.
    version: Option<MountVersion>,
    /// True if the version is to be found out with the next read of the list: it is not known, or
    /// the last read failed in a way in which one of another version would.
    is_doubtful: bool,
}

/// A version of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MountVersion {
    One,
    Two,
}

/// Result of reading one path.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SecretLookup {
    /// A secret.
    Secret(KvSecret),
    /// None.
    Missing(Missing),
}

/// The part of `sys/internal/ui/mounts` about one mount that matters here.
#[derive(Deserialize)]
struct MountInfo {
    options: Option<Options>,
}

#[derive(Deserialize)]
struct Options {
    version: Option<String>,
}

impl KvMount {
    /// The engine in which this store is.
    pub(super) fn new(client: VaultClient, config: &Config, store: &CertificateStore) -> Self {
        Self {
            client,
            host: config.address.to_string(),
            mount: store.mount.clone(),
            prefix: store.prefix.clone(),
            configured: store.version,
            is_doubtful: store.version == KvVersion::Detect,
            version: match store.version {
                KvVersion::Detect => None,
                KvVersion::One => Some(MountVersion::One),
                KvVersion::Two => Some(MountVersion::Two),
            },
        }
    }

    /// The list of certificates. Finds the version of the engine first if it is not known, or no
    /// longer: a mount may be upgraded or replaced, and then old paths lead nowhere. Cancel safe.
    ///
    /// # Errors
    ///
    /// When Vault does not answer, or not with a secret.
    pub(super) async fn live(&mut self) -> Result<SecretLookup, Error> {
        if self.is_doubtful {
            let found = self.detect().await?;
            // Without a version there is no list at either path.
            let Some(version) = found else {
                return Ok(SecretLookup::Missing(Missing::Nothing));
            };
            if self.version != Some(version) {
                info!(
                    mount = self.mount,
                    version = version.number(),
                    "kv engine found"
                );
            }
            self.version = found;
        }
        let version = self.version.unwrap_or(MountVersion::Two);
        let read = self.read(version, RequestKind::Live, "live").await;
        self.is_doubtful = self.configured == KvVersion::Detect && may_be_of_another_version(&read);
        read
    }

    /// The certificate of this name. Cancel safe.
    ///
    /// # Errors
    ///
    /// As of [`live`](Self::live).
    pub(super) async fn certificate(&self, name: &CertificateName) -> Result<SecretLookup, Error> {
        // There is no list before the version is known, and so no name.
        let version = self.version.unwrap_or(MountVersion::Two);
        let path = format!("certificates/{name}");
        self.read(version, RequestKind::Certificate, &path).await
    }

    /// Path of the list, as a policy spells it; both, while the version is not known.
    pub(super) fn path(&self) -> String {
        let list = self.below("live");
        let path = |version| match version {
            MountVersion::One => format!("{}/{list}", self.mount),
            MountVersion::Two => format!("{}/data/{list}", self.mount),
        };
        match self.version {
            Some(version) => path(version),
            None => format!("{} or {}", path(MountVersion::Two), path(MountVersion::One)),
        }
    }

    /// The path of a secret in the mount.
    fn below(&self, path: &str) -> String {
        match self.prefix.as_str() {
            "" => path.to_owned(),
            prefix => format!("{prefix}/{path}"),
        }
    }

    async fn read(
        &self,
        version: MountVersion,
        what: RequestKind,
        path: &str,
    ) -> Result<SecretLookup, Error> {
        let (mount, path) = (self.mount.clone(), self.below(path));
        let answer = match version {
            MountVersion::One => {
                let request = GetSecretRequest { mount, path };
                self.client.ask(what, request).await
            }
            MountVersion::Two => {
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
                MountVersion::One => KvSecret::unversioned(answer.data),
                MountVersion::Two => KvSecret::versioned(answer.data),
            },
            // Not the absence of a secret, but a question of the wrong version.
            Err(Error::Missing(missing)) if missing != Missing::HasVersions => {
                return Ok(SecretLookup::Missing(missing));
            }
            Err(error) => return Err(error),
        };
        match secret {
            Ok(secret) => Ok(SecretLookup::Secret(secret)),
            Err(BadSecret::Null) => Ok(SecretLookup::Missing(Missing::Null)),
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
    async fn detect(&self) -> Result<Option<MountVersion>, Error> {
        // What `vault kv` asks; vaultrs has no endpoint for it.
        let path = format!("sys/internal/ui/mounts/{}", self.mount);
        let found = match self.client.read(RequestKind::Mount, &path).await {
            Ok(answer) => {
                let mount: MountInfo = serde_json::from_value(answer.data)
                    .map_err(|_| self.unreadable("it does not describe a mount"))?;
                let version = mount.options.and_then(|options| options.version);
                Some(match version.as_deref() {
                    Some("2") => MountVersion::Two,
                    Some(_) | None => MountVersion::One,
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
        Ok(found)
    }

    /// The same from what is at the list's path in each version. A policy that fits one of them
    /// forbids the other, which Vault answers before it looks.
    async fn detect_by_reading(&self) -> Result<Option<MountVersion>, Error> {
        let denied = match self
            .read(MountVersion::Two, RequestKind::Live, "live")
            .await
        {
            Ok(SecretLookup::Missing(Missing::Nothing)) => None,
            Ok(SecretLookup::Secret(_) | SecretLookup::Missing(_)) => {
                return Ok(Some(MountVersion::Two));
            }
            Err(error) if error.denied() => Some(error),
            Err(error) => return Err(error),
        };
        match self
            .read(MountVersion::One, RequestKind::Live, "live")
            .await
        {
            Ok(SecretLookup::Missing(Missing::Nothing)) => Ok(None),
            Ok(SecretLookup::Secret(_) | SecretLookup::Missing(_)) => Ok(Some(MountVersion::One)),
            Err(error) if error.missing() == Some(Missing::HasVersions) => {
                Ok(Some(MountVersion::Two))
            }
            Err(error) if error.denied() => denied.map_or(Ok(None), Err),
            Err(error) => Err(error),
        }
    }
}

impl MountVersion {
    fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// True if a mount of another version than the one that was asked could answer so.
fn may_be_of_another_version(read: &Result<SecretLookup, Error>) -> bool {
    match read {
        Ok(SecretLookup::Secret(_)) => false,
        Ok(SecretLookup::Missing(missing)) => *missing == Missing::Nothing,
        Err(Error::Unreadable { .. }) => true,
        Err(error) => !error.passes(),
    }
}
