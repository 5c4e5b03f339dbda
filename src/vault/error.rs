//! The errors of requests to Vault: the party at fault, and if a retry makes sense.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

/// Failure of a request to Vault, or of its preparation. Holds no token, no key and no body: of an
/// answer only the texts that Vault itself calls errors are kept.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A file that connections need (authorities, client certificate) cannot be used.
    #[error("{} cannot be used: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause; nothing of the file's content.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// The request cannot be written.
    #[error("cannot write the request: {0}")]
    Request(&'static str),
    /// The wrapping token of a secret id is not what it should be: somebody else may have the
    /// secret id, or have made the token.
    #[error("the wrapping token of the secret id cannot be used: {why}")]
    Wrapping {
        /// The cause.
        why: &'static str,
        /// Vault's own error, if it gave one.
        source: Option<Arc<Error>>,
    },
    /// The connection could not be opened, or broke before an answer came.
    #[error("cannot reach {host}: {why}")]
    Connect {
        /// Host and port that were asked.
        host: String,
        /// The cause, with the causes of the cause.
        why: String,
    },
    /// The answer took too long.
    #[error("{host} did not answer within {limit:?}")]
    Slow {
        /// Host and port that were asked.
        host: String,
        /// The time limit that ran out.
        limit: Duration,
    },
    /// The body broke off.
    #[error("the answer of {host} broke off: {why}")]
    BrokenOff {
        /// Host and port that answered.
        host: String,
        /// The cause, with the causes of the cause.
        why: String,
    },
    /// The body was too large.
    #[error("the answer of {host} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// Host and port that answered.
        host: String,
        /// The limit.
        limit_bytes: usize,
    },
    /// A success whose body is not Vault's.
    #[error("the answer of {host} is not Vault's: {why}; check that VAULT_ADDR leads to Vault")]
    Unreadable {
        /// Host and port that answered.
        host: String,
        /// The cause; nothing of the answer's content.
        why: &'static str,
    },
    /// The answer led from https to http.
    #[error(
        "{host} redirects to plain http at {target}, which is not followed: the token would cross \
         the network in plaintext; set api_addr of Vault's nodes to https"
    )]
    RedirectToPlain {
        /// Host and port that answered.
        host: String,
        /// Host and port of the redirect's target.
        target: String,
    },
    /// The answer led elsewhere where that is not followed, or once more.
    #[error("{host} redirects to {target}, which is not followed; {remedy}")]
    Redirect {
        /// Host and port that answered.
        host: String,
        /// Host and port of the redirect's target.
        target: String,
        /// Remedy for an operator.
        remedy: &'static str,
    },
    /// A standby named an active node that cannot be asked.
    #[error("{host} redirects to its active node, and there {error}")]
    Active {
        /// The standby.
        host: String,
        /// The error of the request to its active node.
        error: Box<Error>,
    },
    /// Vault is sealed.
    #[error("{host} is sealed: somebody has to unseal it")]
    Sealed {
        /// Host and port that answered.
        host: String,
    },
    /// The token may not do that, or is none (any more). Vault tells the two apart in no way that
    /// can be relied on.
    #[error("the token is not allowed to do that, or is none any more ({texts})")]
    Denied {
        /// Vault's own error texts.
        texts: Texts,
    },
    /// There is nothing at that path.
    #[error("no secret: {}", .0.why())]
    Missing(Missing),
    /// Too many requests.
    #[error("Vault's rate limit is reached ({texts})")]
    Limited {
        /// Vault's own error texts.
        texts: Texts,
        /// `Retry-After` of the answer, if there is one.
        retry_after: Option<Duration>,
    },
    /// A node that has not heard yet of what was written, or an agent that misses a header.
    #[error(
        "a precondition failed ({texts}): a node is behind; if this stays, what is in front of \
         Vault drops the header X-Vault-Request"
    )]
    Behind {
        /// Vault's own error texts.
        texts: Texts,
    },
    /// Vault does not do that, and will not when it is asked again.
    #[error("refused with {status} ({texts})")]
    Refused {
        /// With which status.
        status: StatusCode,
        /// Vault's own error texts.
        texts: Texts,
    },
    /// Vault cannot do that now.
    #[error("failed with {status} ({texts})")]
    Failing {
        /// With which status.
        status: StatusCode,
        /// Vault's own error texts.
        texts: Texts,
        /// `Retry-After` of the answer, if there is one.
        retry_after: Option<Duration>,
    },
}

/// Kind of absence at a path that holds no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nothing more.
    Nothing,
    /// There was a secret; its latest version was deleted or destroyed.
    Deleted,
    /// There is a secret, and its latest version holds null instead of fields.
    Null,
    /// The mount keeps versions, and was asked as if it did not.
    HasVersions,
}

/// Vault's own error texts, each on one line and cut to a length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts(Vec<String>);

/// The most characters of one text, and the most texts. What Vault says fits; a page of a proxy
/// that looks like it does not fill a log.
const MAX_TEXT: usize = 300;
const MAX_TEXTS: usize = 4;

impl Error {
    /// The class, a value of the metric label `outcome`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::File { .. } | Self::Tls(_) | Self::Request(_) => "configuration",
            Self::Wrapping { .. } => "wrapping",
            Self::Connect { .. } => "connect",
            Self::Slow { .. } => "slow",
            Self::BrokenOff { .. } => "broken_off",
            Self::TooLarge { .. } => "too_large",
            Self::Unreadable { .. } => "unreadable",
            Self::RedirectToPlain { .. } | Self::Redirect { .. } | Self::Active { .. } => {
                "redirect"
            }
            Self::Sealed { .. } => "sealed",
            Self::Denied { .. } => "denied",
            Self::Missing(_) => "missing",
            Self::Limited { .. } => "limited",
            Self::Behind { .. } => "behind",
            Self::Refused { .. } => "refused",
            Self::Failing { .. } => "failing",
        }
    }

    /// True if the same request may well succeed later although nothing changes here: Vault, the
    /// network or a file recovers. If false, somebody has to change something; it is tried again
    /// all the same, since nobody tells when they did.
    pub fn passes(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Slow { .. }
            | Self::BrokenOff { .. }
            // Load balancers answer with pages of their own while Vault is away.
            | Self::Unreadable { .. }
            | Self::File { .. }
            | Self::Active { .. }
            | Self::Sealed { .. }
            | Self::Limited { .. }
            | Self::Behind { .. }
            | Self::Failing { .. } => true,
            // While a mount is upgraded to versions (vault-plugin-secrets-kv#75).
            Self::Refused { status, texts } => {
                *status == StatusCode::REQUEST_TIMEOUT
                    || texts.say("Upgrading from non-versioned to versioned")
            }
            Self::Tls(_)
            | Self::Request(_)
            | Self::Wrapping { .. }
            | Self::TooLarge { .. }
            | Self::RedirectToPlain { .. }
            | Self::Redirect { .. }
            | Self::Denied { .. }
            | Self::Missing(_) => false,
        }
    }

    /// True if the token is not allowed to do that, or is dead.
    pub fn denied(&self) -> bool {
        matches!(self, Self::Denied { .. })
    }

    /// The kind of absence, if the path holds no secret.
    pub fn missing(&self) -> Option<Missing> {
        match self {
            Self::Missing(missing) => Some(*missing),
            Self::File { .. }
            | Self::Tls(_)
            | Self::Request(_)
            | Self::Wrapping { .. }
            | Self::Connect { .. }
            | Self::Slow { .. }
            | Self::BrokenOff { .. }
            | Self::TooLarge { .. }
            | Self::Unreadable { .. }
            | Self::RedirectToPlain { .. }
            | Self::Redirect { .. }
            | Self::Active { .. }
            | Self::Sealed { .. }
            | Self::Denied { .. }
            | Self::Limited { .. }
            | Self::Behind { .. }
            | Self::Refused { .. }
            | Self::Failing { .. } => None,
        }
    }

    /// Vault's texts about a request that it will refuse again; none for other errors.
    pub fn refused(&self) -> Option<&Texts> {
        match self {
            Self::Refused { texts, .. } => Some(texts),
            Self::File { .. }
            | Self::Tls(_)
            | Self::Request(_)
            | Self::Wrapping { .. }
            | Self::Connect { .. }
            | Self::Slow { .. }
            | Self::BrokenOff { .. }
            | Self::TooLarge { .. }
            | Self::Unreadable { .. }
            | Self::RedirectToPlain { .. }
            | Self::Redirect { .. }
            | Self::Active { .. }
            | Self::Sealed { .. }
            | Self::Denied { .. }
            | Self::Missing(_)
            | Self::Limited { .. }
            | Self::Behind { .. }
            | Self::Failing { .. } => None,
        }
    }

    /// `Retry-After` of the answer, if there is one.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Limited { retry_after, .. } | Self::Failing { retry_after, .. } => *retry_after,
            Self::Active { error, .. } => error.retry_after(),
            Self::File { .. }
            | Self::Tls(_)
            | Self::Request(_)
            | Self::Wrapping { .. }
            | Self::Connect { .. }
            | Self::Slow { .. }
            | Self::BrokenOff { .. }
            | Self::TooLarge { .. }
            | Self::Unreadable { .. }
            | Self::RedirectToPlain { .. }
            | Self::Redirect { .. }
            | Self::Sealed { .. }
            | Self::Denied { .. }
            | Self::Missing(_)
            | Self::Behind { .. }
            | Self::Refused { .. } => None,
        }
    }
}

impl Texts {
    /// These texts, cleaned, without `secret` should one repeat it.
    pub(super) fn new(texts: impl IntoIterator<Item = String>, secret: &str) -> Self {
        let clean = |text: String| {
            let text = match secret {
                "" => text,
                secret => text.replace(secret, "..."),
            };
            let line: String = text
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .chars()
                .filter(|c| !c.is_control())
                .take(MAX_TEXT)
                .collect();
            line
        };
        Self(texts.into_iter().take(MAX_TEXTS).map(clean).collect())
    }

    /// True if one of the texts contains this part.
    pub fn say(&self, part: &str) -> bool {
        self.0.iter().any(|text| text.contains(part))
    }
}

impl fmt::Display for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("Vault says nothing more")
        } else {
            f.write_str(&self.0.join("; "))
        }
    }
}

impl Missing {
    /// The kind in words, to be put behind "nothing is there" or the name of what is missing.
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Nothing => "there is nothing in its path",
            Self::Deleted => "its latest version was deleted or destroyed",
            Self::Null => "its latest version holds null instead of fields",
            Self::HasVersions => {
                "the mount keeps versions and was asked as if it did not; set VAULT_KV_VERSION=2"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vault_says_is_one_line_of_some_length_without_the_token() {
        let texts = ["1 error occurred:\n\t* permission\u{7} denied for hvs.canary\n\n".to_owned()];
        let texts = Texts::new(texts, "hvs.canary");
        assert_eq!(
            texts.to_string(),
            "1 error occurred: * permission denied for ..."
        );
        let long = Texts::new(vec!["x".repeat(10_000); 100], "");
        assert!(long.to_string().len() <= MAX_TEXTS * (MAX_TEXT + 2));
        assert_eq!(Texts::default().to_string(), "Vault says nothing more");
    }

    #[test]
    fn what_passes_is_told_from_what_somebody_has_to_change() {
        let refused = |text: &str| Error::Refused {
            status: StatusCode::BAD_REQUEST,
            texts: Texts::new([text.to_owned()], ""),
        };
        assert!(!refused("unknown role: edge").passes());
        assert!(refused("Upgrading from non-versioned to versioned data.").passes());
        let sealed = Error::Sealed {
            host: "v:8200".to_owned(),
        };
        assert!(sealed.passes());
        let active = Error::Active {
            host: "v:8200".to_owned(),
            error: Box::new(sealed),
        };
        assert!(active.passes(), "the next answer may name another node");
        assert!(!Error::Missing(Missing::Deleted).passes());
    }
}
