//! Options of TLS towards tasks, in HAProxy's words: in a `server` line, or in a label of their own.

use std::collections::BTreeMap;

use crate::intent::{Authority, TaskTls, Verification, is_dns_name};

/// Options as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TlsOptions {
    verify: Option<Verify>,
    /// Name of the authority.
    authority: Option<Box<str>>,
    asked_name: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verify {
    Nothing,
    Certificate,
}

/// Reasons for which TLS cannot be had as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TlsFault {
    /// The options do not fit together.
    Contradiction,
    /// There is no authority of this name.
    UnknownAuthority(Box<str>),
}

impl TlsOptions {
    /// Takes an option, with its argument from the words behind it. False for any other word, and
    /// for an argument that makes no sense.
    pub(super) fn take<'a>(
        &mut self,
        option: &str,
        arguments: &mut impl Iterator<Item = &'a str>,
    ) -> bool {
        match option {
            "verify" => {
                self.verify = match arguments.next() {
                    Some("none") => Some(Verify::Nothing),
                    Some("required") => Some(Verify::Certificate),
                    Some(_) | None => return false,
                };
            }
            "ca-file" => {
                let Some(name) = arguments.next().map(file_stem) else {
                    return false;
                };
                self.authority = Some(name.into());
            }
            "sni" => {
                let name = arguments.next();
                let name = name.and_then(|text| text.strip_prefix("str(")?.strip_suffix(')'));
                let Some(name) = name.filter(|name| is_dns_name(name)) else {
                    return false;
                };
                self.asked_name = Some(name.into());
            }
            _ => return false,
        }
        true
    }

    /// True if there are none.
    pub(super) fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// True if they fit together. HAProxy verifies unless it is told not to, and then needs an
    /// authority.
    pub(super) fn fit_together(&self) -> bool {
        match (self.verify, &self.authority) {
            (Some(Verify::Nothing), _) | (Some(Verify::Certificate) | None, Some(_)) => true,
            (Some(Verify::Certificate) | None, None) => false,
        }
    }

    /// TLS as these options say.
    pub(super) fn settled(
        &self,
        authorities: &BTreeMap<Box<str>, Authority>,
    ) -> Result<TaskTls, TlsFault> {
        let verification = match (self.verify, &self.authority) {
            (Some(Verify::Nothing), _) => Verification::None,
            (Some(Verify::Certificate) | None, Some(name)) => {
                let authority = authorities.get(name).cloned();
                let authority = authority.ok_or(TlsFault::UnknownAuthority(name.clone()))?;
                Verification::By(authority)
            }
            (Some(Verify::Certificate) | None, None) => return Err(TlsFault::Contradiction),
        };
        Ok(TaskTls {
            asked_name: self.asked_name.clone(),
            verification,
        })
    }
}

/// The name of a file without its folder and its ending, as the daemon names its bundles.
fn file_stem(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.rsplit_once('.').map(|(stem, _)| stem);
    stem.filter(|stem| !stem.is_empty()).unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Option<TlsOptions> {
        let mut options = TlsOptions::default();
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            if !options.take(word, &mut words) {
                return None;
            }
        }
        Some(options)
    }

    #[test]
    fn a_certificate_is_verified_unless_it_is_not_to_be() {
        let internal = Authority { pem: "pem".into() };
        let authorities = BTreeMap::from([("internal".into(), internal.clone())]);
        let settled = |text| options(text).unwrap().settled(&authorities);
        let by = |asked_name: Option<&str>| {
            Ok(TaskTls {
                asked_name: asked_name.map(Box::from),
                verification: Verification::By(internal.clone()),
            })
        };
        for text in [
            "ca-file internal",
            "verify required ca-file /etc/ssl/internal.pem",
            "ca-file internal.crt verify required",
        ] {
            assert_eq!(settled(text), by(None), "{text}");
        }
        assert_eq!(
            settled("ca-file internal sni str(a.test)"),
            by(Some("a.test"))
        );
        assert_eq!(settled("verify none"), Ok(TaskTls::default()));
        assert_eq!(settled("verify none ca-file x"), Ok(TaskTls::default()));
        assert_eq!(settled(""), Err(TlsFault::Contradiction));
        assert_eq!(settled("verify required"), Err(TlsFault::Contradiction));
        assert_eq!(
            settled("ca-file x.pem"),
            Err(TlsFault::UnknownAuthority("x".into()))
        );
    }

    #[test]
    fn other_words_are_none() {
        for text in [
            "verify",
            "verify optional",
            "ca-file",
            "sni",
            "sni a.test",
            "sni ssl_fc_sni",
            "sni str(a..b)",
            "sni hdr(host)",
            "ssl",
            "crt /a.pem",
        ] {
            assert_eq!(options(text), None, "{text}");
        }
    }
}
