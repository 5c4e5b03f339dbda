//! Gets a token: as it was given, from a file, or for a role id or a client certificate.

use std::sync::Arc;

use rustify::Endpoint;
use serde_json::json;
use vaultrs::api::auth::approle::requests::LoginWithApproleRequest;
use vaultrs::api::sys::requests::{UnwrapRequest, WrappingLookupRequest};

use super::answer::Auth;
use super::client::PathRequest;
use super::config::{self, Config, RoleId, Secret};
use super::error::Error;
use super::file::SecretFile;
use super::requester::{RequestKind, Requester, Token};

/// Source of tokens, with the values that were read for it.
pub(super) enum TokenSource {
    /// There is none: an agent adds its own.
    None,
    /// This one.
    Given(Secret),
    /// Whatever is in the file.
    File(SecretFile),
    /// AppRole.
    AppRole(Box<AppRole>),
    /// The client certificate that every connection shows.
    Certificate { mount: String, role: Option<String> },
}

/// Parameters and memory of an AppRole login.
pub(super) struct AppRole {
    mount: String,
    role_id: Cached,
    /// None if the role asks for none.
    secret_id: Option<Cached>,
    /// Creation path that the wrapping token of the secret id must have.
    wrapped_at: Option<String>,
    /// The wrapping token that was looked at last; it is not looked at again.
    wrapping: Option<Wrapping>,
    /// The secret id that was unwrapped last: a bad wrapping token takes nothing from it.
    unwrapped: Option<Secret>,
}

/// A value that stays known when its file is gone.
struct Cached {
    file: Option<SecretFile>,
    value: Option<Secret>,
    /// The fault of the file, as the log last had it, while the value is known.
    fault: Option<String>,
}

/// A wrapping token, and what became of it.
struct Wrapping {
    token: Secret,
    /// The secret id that it wrapped, or why there is none.
    outcome: Result<Secret, Error>,
}

/// A token that was got.
pub(super) struct Got {
    pub(super) token: Token,
    /// Its life, if a login says so.
    pub(super) auth: Option<Auth>,
}

impl TokenSource {
    /// As configured. Reads nothing yet.
    pub(super) fn new(config: &Config) -> Self {
        match &config.login {
            config::LoginMethod::None => Self::None,
            config::LoginMethod::Token(token) => Self::Given(token.clone()),
            config::LoginMethod::TokenFile(path) => Self::File(SecretFile::secret(path.clone())),
            config::LoginMethod::AppRole {
                mount,
                role_id,
                secret_id_file,
                wrapped_at,
            } => Self::AppRole(Box::new(AppRole {
                mount: mount.clone(),
                role_id: match role_id {
                    RoleId::Text(text) => Cached {
                        file: None,
                        value: Some(Secret::from(text.clone())),
                        fault: None,
                    },
                    RoleId::File(path) => Cached::in_file(SecretFile::name(path.clone())),
                },
                secret_id: secret_id_file
                    .clone()
                    .map(|path| Cached::in_file(SecretFile::secret(path))),
                wrapped_at: wrapped_at.clone(),
                wrapping: None,
                unwrapped: None,
            })),
            config::LoginMethod::Certificate { mount, role } => Self::Certificate {
                mount: mount.clone(),
                role: role.clone(),
            },
        }
    }

    /// Its name in the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Given(_) => "token",
            Self::File(_) => "token file",
            Self::AppRole(_) => "approle",
            Self::Certificate { .. } => "cert",
        }
    }

    /// True if a login with Vault gives another token.
    pub(super) fn can_repeat(&self) -> bool {
        match self {
            Self::None | Self::Given(_) | Self::File(_) => false,
            Self::AppRole(_) | Self::Certificate { .. } => true,
        }
    }

    /// Remedy for an operator when no token is to be had, or the token is refused.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::None => {
                "check that the agent at VAULT_ADDR adds a token of its own, or configure a login"
            }
            Self::Given(_) => {
                "give VAULT_TOKEN a living token with the policies default and the one of \
                 vault-policy.hcl; one that is periodic and orphan can be renewed for ever"
            }
            Self::File(_) => {
                "check that whoever writes VAULT_TOKEN_FILE does, and that its token has the \
                 policies default and the one of vault-policy.hcl"
            }
            Self::AppRole(_) => {
                "check the role id, and write a fresh secret id to VAULT_SECRET_ID_FILE"
            }
            Self::Certificate { .. } => {
                "check that a role of the mount takes VAULT_CLIENT_CERT, and that it has not ended"
            }
        }
    }

    /// True if a file of the login has changed since it was last read.
    pub(super) async fn differs(&mut self) -> bool {
        match self {
            Self::None | Self::Given(_) | Self::Certificate { .. } => false,
            Self::File(file) => file.differs().await,
            Self::AppRole(role) => {
                role.role_id.differs().await
                    || match &mut role.secret_id {
                        Some(secret_id) => secret_id.differs().await,
                        None => false,
                    }
            }
        }
    }

    /// True if the login reads files.
    pub(super) fn has_files(&self) -> bool {
        match self {
            Self::None | Self::Given(_) | Self::Certificate { .. } => false,
            Self::File(_) => true,
            Self::AppRole(role) => role.role_id.file.is_some() || role.secret_id.is_some(),
        }
    }

    /// Gets a token. Files are read anew.
    pub(super) async fn token(&mut self, requester: &Requester) -> Result<Got, Error> {
        match self {
            Self::None => Ok(Got {
                token: Token::none(),
                auth: None,
            }),
            Self::Given(token) => given(token.expose()),
            Self::File(file) => given(&file.read().await?),
            Self::AppRole(role) => role.log_in(requester).await,
            Self::Certificate { mount, role } => {
                // vaultrs sends the role as `cert_name`, which Vault does not know.
                let body = role
                    .as_ref()
                    .map_or(json!({}), |role| json!({"name": role}));
                let login = PathRequest::write(&format!("auth/{mount}/login"), &body);
                log_in(requester, login).await
            }
        }
    }
}

impl AppRole {
    async fn log_in(&mut self, requester: &Requester) -> Result<Got, Error> {
        let role_id = self.role_id.read().await?;
        let secret_id = match &mut self.secret_id {
            None => Secret::from(String::new()),
            Some(cached) => {
                let read = cached.read().await?;
                match &self.wrapped_at {
                    None => read,
                    Some(wrapped_at) => {
                        let unwrap = unwrap(&mut self.wrapping, requester, read, wrapped_at);
                        match (unwrap.await, &self.unwrapped) {
                            (Ok(secret_id), _) => self.unwrapped.insert(secret_id).clone(),
                            (Err(Error::Wrapping { .. }), Some(known)) => known.clone(),
                            (Err(error), _) => return Err(error),
                        }
                    }
                }
            }
        };
        let login = LoginWithApproleRequest {
            mount: self.mount.clone(),
            role_id: role_id.expose().to_owned(),
            secret_id: secret_id.expose().to_owned(),
        };
        log_in(requester, login).await
    }
}

impl Cached {
    fn in_file(file: SecretFile) -> Self {
        Self {
            file: Some(file),
            value: None,
            fault: None,
        }
    }

    async fn differs(&mut self) -> bool {
        match &mut self.file {
            Some(file) => file.differs().await,
            None => false,
        }
    }

    /// The value in the file, or the last one that was read.
    async fn read(&mut self) -> Result<Secret, Error> {
        let read = match &mut self.file {
            Some(file) => Some(file.read().await),
            None => None,
        };
        match (read, &self.value) {
            (Some(Ok(file)), _) => {
                self.fault = None;
                Ok(self.value.insert(Secret::from(file)).clone())
            }
            (None, Some(value)) => Ok(value.clone()),
            (Some(Err(error)), Some(value)) => {
                let fault = error.to_string();
                if self.fault.as_ref() != Some(&fault) {
                    tracing::warn!(
                        error = fault,
                        remedy = "write it again; a restart would not find it",
                        "a file of the login to vault cannot be read; what was in it is used"
                    );
                    self.fault = Some(fault);
                }
                Ok(value.clone())
            }
            (Some(Err(error)), None) => Err(error),
            (None, None) => Err(Error::Request("there is no role id")),
        }
    }
}

/// The secret id in a wrapping token, which gives it once: a token that was looked at is not looked
/// at again, whatever came of it.
async fn unwrap(
    last: &mut Option<Wrapping>,
    requester: &Requester,
    token: Secret,
    wrapped_at: &str,
) -> Result<Secret, Error> {
    if let Some(wrapping) = last
        && wrapping.token == token
    {
        return wrapping.outcome.clone();
    }
    let outcome = match unwrapped(requester, &token, wrapped_at).await {
        // It is still there when Vault is.
        Err(error) if error.passes() => return Err(error),
        outcome => outcome,
    };
    if let Err(Error::Wrapping { why, .. }) = &outcome {
        tracing::error!(
            why,
            expected_creation_path = wrapped_at,
            remedy = "find out who has read the file or made the token, revoke the secret id, and \
                      write a new wrapping token to VAULT_SECRET_ID_FILE",
            "security: the wrapping token of the secret id is not what it should be"
        );
    }
    let wrapping = last.insert(Wrapping { token, outcome });
    wrapping.outcome.clone()
}

async fn unwrapped(
    requester: &Requester,
    token: &Secret,
    wrapped_at: &str,
) -> Result<Secret, Error> {
    let wrapping = Token::parse(token.expose()).ok_or(Error::Request(NO_TOKEN))?;
    let lookup = WrappingLookupRequest {
        token: token.expose().to_owned(),
    };
    let refused = |error: Error| match error {
        error if error.passes() => error,
        error => Error::Wrapping {
            why: "it is spent, has ended, or never was one",
            source: Some(Arc::new(error)),
        },
    };
    // No token of ours: this path asks for none.
    let found = requester
        .ask(RequestKind::Wrapping, &Token::none(), lookup)
        .await;
    let found = found.map_err(refused)?;
    let made_at = found
        .data
        .get("creation_path")
        .and_then(|path| path.as_str());
    if made_at.map(|path| path.trim_matches('/')) != Some(wrapped_at) {
        return Err(Error::Wrapping {
            why: "it was made at another path; what it wraps is not used",
            source: None,
        });
    }
    let unwrap = UnwrapRequest { token: None };
    let answer = requester
        .ask(RequestKind::Wrapping, &wrapping, unwrap)
        .await;
    let answer = match answer {
        // Whether Vault has given the secret id away is not known: asked again, it will say.
        Err(error) => return Err(refused(error)),
        Ok(answer) => answer,
    };
    let secret_id = answer.data.get("secret_id").and_then(|id| id.as_str());
    secret_id
        .map(|id| Secret::from(id.to_owned()))
        .ok_or(Error::Wrapping {
            why: "it wraps no secret id",
            source: None,
        })
}

async fn log_in<E: Endpoint>(requester: &Requester, login: E) -> Result<Got, Error> {
    let answer = requester
        .ask(RequestKind::Login, &Token::none(), login)
        .await?;
    let auth = answer.auth.ok_or(Error::Request(
        "the login gives no token; check VAULT_AUTH_MOUNT",
    ))?;
    let token = Token::parse(auth.token.expose()).ok_or(Error::Request(NO_TOKEN))?;
    Ok(Got {
        token,
        auth: Some(auth),
    })
}

const NO_TOKEN: &str = "the token holds signs that no token has";

fn given(text: &str) -> Result<Got, Error> {
    Ok(Got {
        token: Token::parse(text).ok_or(Error::Request(NO_TOKEN))?,
        auth: None,
    })
}
