//! The file with the login for Marathon, as it is now or was when it could last be read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use http::HeaderValue;
use tokio::time::Instant;

use super::config::{MarathonLogin, TokenScheme};
use super::error::Error;
use super::service_account::{ServiceAccount, TOKEN_PREFIX, token_header};
use super::status;
use crate::net::kept_file::{KeptFile, KeptValue};
use crate::net::source_status::StatusCell;
use crate::net::throttle::Throttle;

/// A file that cannot be read is one line in that time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The login for Marathon, as its file has it.
pub(super) enum LoginSource {
    /// Nobody logs in.
    None,
    /// The value of `Authorization`.
    Header(LoginFile<HeaderValue>),
    /// A service account, which logs in for one.
    Account(LoginFile<ServiceAccount>),
}

/// The file with the login.
pub(super) struct LoginFile<T> {
    file: KeptFile<T>,
    /// The error of a file that cannot be used for that reason.
    error: fn(PathBuf, String) -> Error,
    throttled_log: Throttle,
    status: StatusCell,
}

impl LoginSource {
    /// The file of a login, not read yet. What becomes of it is noted in `status`.
    pub(super) fn of(login: &MarathonLogin, status: StatusCell) -> Self {
        match login {
            MarathonLogin::None => Self::None,
            MarathonLogin::Credentials(path) => {
                let error = |path, why| Error::Credentials { path, why };
                Self::Header(LoginFile::new(path, credentials, error, status))
            }
            MarathonLogin::Token { file, scheme } => {
                let error = |path, why| Error::Token { path, why };
                let parse = match scheme {
                    TokenScheme::Bearer => bearer,
                    TokenScheme::Token => token,
                };
                Self::Header(LoginFile::new(file, parse, error, status))
            }
            MarathonLogin::ServiceAccount(path) => {
                let error = |path, why| Error::ServiceAccount { path, why };
                let parse = ServiceAccount::parse;
                Self::Account(LoginFile::new(path, parse, error, status))
            }
        }
    }
}

impl<T> LoginFile<T> {
    fn new(
        path: &Path,
        parse: fn(&str) -> Result<T, String>,
        error: fn(PathBuf, String) -> Error,
        status: StatusCell,
    ) -> Self {
        Self {
            file: KeptFile::new(path.to_owned(), parse),
            error,
            throttled_log: Throttle::new(LOG_INTERVAL, 10),
            status,
        }
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Reads it. While it cannot be used, the last login serves on, with a warning.
    ///
    /// # Errors
    ///
    /// When it cannot be used and never could.
    pub(super) async fn read(&self) -> Result<Arc<T>, Error> {
        let read = self.file.read().await;
        let KeptValue { value, fault } = read.map_err(|why| self.error(why))?;
        match fault {
            None => self.status.works(status::LOGIN_FILE),
            Some(why) => self.warn(&self.error(why)),
        }
        Ok(value)
    }

    fn warn(&self, error: &Error) {
        let remedy = error.remedy();
        self.status.fails(status::LOGIN_FILE, error, &remedy);
        let subject = error.to_string();
        if let Some(left_out) = self.throttled_log.admit(&subject, Instant::now()) {
            tracing::warn!(
                %error,
                remedy,
                left_out = left_out.count(),
                "the file with the login cannot be used; the last login is used on"
            );
        }
    }

    fn error(&self, why: String) -> Error {
        (self.error)(self.path().to_owned(), why)
    }
}

/// The one line of a file.
fn line(text: &str) -> Option<&str> {
    let line = text.trim_end_matches(['\r', '\n']);
    (!line.contains(['\r', '\n'])).then_some(line)
}

/// HTTP basic.
fn credentials(text: &str) -> Result<HeaderValue, String> {
    let line = line(text).filter(|line| line.contains(':'));
    let line = line.ok_or("it must hold one line, user:password")?;
    let value = format!("Basic {}", BASE64.encode(line.as_bytes()));
    let mut value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

fn bearer(text: &str) -> Result<HeaderValue, String> {
    of_token("Bearer ", text)
}

fn token(text: &str) -> Result<HeaderValue, String> {
    of_token(TOKEN_PREFIX, text)
}

fn of_token(prefix: &str, text: &str) -> Result<HeaderValue, String> {
    let header = line(text).and_then(|line| token_header(prefix, line));
    header.ok_or_else(|| "it must hold one line, the token alone".to_owned())
}
