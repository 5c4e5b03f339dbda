//! Login at Vault, from the settings.

use std::path::PathBuf;

use super::bad_setting::BadSetting;
use super::files::given;
use super::text::{filled, is_visible};
use super::typed::{AuthMethod, Typed};
use crate::vault;

impl Typed {
    /// The login at Vault: the method that is named, or the one of which the secrets are given.
    pub(super) fn vault_login(
        &self,
        warnings: &mut Vec<String>,
    ) -> Result<vault::LoginMethod, BadSetting> {
        let typed = &self.vault;
        let token = typed.vault_token.clone();
        let token = token.filter(|token| !token.expose().is_empty());
        if token
            .as_ref()
            .is_some_and(|token| !is_visible(token.expose().trim()))
        {
            return Err(BadSetting {
                variable: "VAULT_TOKEN",
                value: "(hidden)".into(),
                why: "it is empty, or holds signs that no token has".into(),
                remedy: "give it the token and nothing else, or unset it",
            });
        }
        let token_file = given(&typed.vault_token_file);
        let role_id = self.role_id()?;
        let has_token = token.is_some() || token_file.is_some();
        let method = match typed.vault_auth_method {
            Some(method) => method,
            None if has_token && role_id.is_some() => {
                return Err(BadSetting {
                    variable: "VAULT_AUTH_METHOD",
                    value: "(unset)".into(),
                    why: "both a token and a role id are given".into(),
                    remedy: "take one of them away, or say which: token or approle",
                });
            }
            None if has_token => AuthMethod::Token,
            None if role_id.is_some() => AuthMethod::Approle,
            None if given(&typed.vault_client_cert).is_some() => AuthMethod::Cert,
            None => {
                warnings.push(
                    "Vault is asked without a token: that works only through an agent that adds \
                     its own; else set VAULT_TOKEN_FILE, VAULT_ROLE_ID_FILE or VAULT_CLIENT_CERT"
                        .to_owned(),
                );
                AuthMethod::None
            }
        };
        let missing = |method: &str, remedy| BadSetting {
            variable: "VAULT_AUTH_METHOD",
            value: method.to_owned(),
            why: "what it needs is missing".into(),
            remedy,
        };
        let mount = |default: &str| path_of(&typed.vault_auth_mount, default);
        match method {
            AuthMethod::None => Ok(vault::LoginMethod::None),
            AuthMethod::Token => match (token, token_file) {
                (Some(_), Some(path)) => Err(BadSetting {
                    variable: "VAULT_TOKEN_FILE",
                    value: path.display().to_string(),
                    why: "VAULT_TOKEN is set too".into(),
                    remedy: "set one of the two",
                }),
                (Some(token), None) => Ok(vault::LoginMethod::Token(token)),
                // The file may come later, as an agent writes it.
                (None, Some(path)) => Ok(vault::LoginMethod::TokenFile(path.to_owned())),
                (None, None) => Err(missing("token", "set VAULT_TOKEN_FILE or VAULT_TOKEN")),
            },
            AuthMethod::Approle => Ok(vault::LoginMethod::AppRole {
                mount: mount("approle"),
                role_id: role_id.ok_or_else(|| {
                    missing("approle", "set VAULT_ROLE_ID_FILE and VAULT_SECRET_ID_FILE")
                })?,
                secret_id_file: self.secret_id_file()?,
                wrapped_at: filled(&typed.vault_secret_id_creation_path)
                    .map(|path| path.trim_matches('/').to_owned()),
            }),
            AuthMethod::Cert if given(&typed.vault_client_cert).is_none() => Err(missing(
                "cert",
                "set VAULT_CLIENT_CERT and VAULT_CLIENT_KEY",
            )),
            AuthMethod::Cert => Ok(vault::LoginMethod::Certificate {
                mount: mount("cert"),
                role: filled(&typed.vault_cert_role),
            }),
        }
    }

    fn role_id(&self) -> Result<Option<vault::RoleId>, BadSetting> {
        let text = filled(&self.vault.vault_role_id);
        match (text, given(&self.vault.vault_role_id_file)) {
            (Some(_), Some(path)) => Err(BadSetting {
                variable: "VAULT_ROLE_ID_FILE",
                value: path.display().to_string(),
                why: "VAULT_ROLE_ID is set too".into(),
                remedy: "set one of the two",
            }),
            (Some(text), None) => Ok(Some(vault::RoleId::Text(text))),
            (None, Some(path)) => Ok(Some(vault::RoleId::File(path.to_owned()))),
            (None, None) => Ok(None),
        }
    }

    fn secret_id_file(&self) -> Result<Option<PathBuf>, BadSetting> {
        let path = given(&self.vault.vault_secret_id_file);
        match (path, filled(&self.vault.vault_secret_id_creation_path)) {
            (None, Some(creation_path)) => Err(BadSetting {
                variable: "VAULT_SECRET_ID_CREATION_PATH",
                value: creation_path,
                why: "there is no secret id that was wrapped there".into(),
                remedy: "set VAULT_SECRET_ID_FILE to the file with the wrapping token",
            }),
            (path, _) => Ok(path.map(ToOwned::to_owned)),
        }
    }
}

/// Path of an auth method below `auth/`.
fn path_of(text: &Option<String>, default: &str) -> String {
    filled(text).map_or_else(
        || default.to_owned(),
        |text| text.trim_matches('/').to_owned(),
    )
}
