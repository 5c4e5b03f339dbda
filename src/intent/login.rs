//! The login of a service: HTTP Basic with one user.

use std::fmt;

use thiserror::Error;

/// Key under which a request of a proxy names the service whose login is to be checked.
pub const SERVICE_OF_LOGIN: &str = "service";

/// A login that requests of a service need
/// ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The realm that a client is shown: no control characters.
    pub realm: String,
    /// True if it is asked for on each listener that requests may arrive on, false if on those of
    /// hosts alone.
    pub is_everywhere: bool,
    /// The user.
    pub user: String,
    /// The hash of the user's password.
    pub password: PasswordHash,
}

/// A password's hash as crypt(3) writes it. Its form is checked, and no output for people holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    scheme: HashScheme,
    text: String,
}

/// Way in which a password is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashScheme {
    /// MD5, 1,000 times: `$1$`.
    Md5,
    /// The same with Apache's name: `$apr1$`.
    ApacheMd5,
    /// SHA-256, by default 5,000 times: `$5$`.
    Sha256,
    /// SHA-512, by default 5,000 times: `$6$`.
    Sha512,
    /// bcrypt: `$2a$`, `$2b$`, `$2y$`.
    Bcrypt,
    /// SHA-1, once, without salt: `{SHA}`.
    Sha1,
}

/// Reason why a text is not taken as a password's hash. No message repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UnusableHash {
    /// It begins with no known prefix.
    #[error("it is no hash of a known form")]
    UnknownScheme,
    /// It is cut off, too long, or has signs that no hash has.
    #[error("the hash is incomplete or has signs that no hash has")]
    Malformed,
    /// One check would take seconds.
    #[error("a check of the hash would take too long")]
    TooCostly,
}

/// Highest number of rounds of `$5$` and `$6$`: about a second of work. Tools that choose many
/// write 656,000.
const MAX_ROUNDS: u32 = 1_000_000;

/// Lowest number of rounds that crypt(3) takes.
const MIN_ROUNDS: u32 = 1_000;

/// Costs of bcrypt: 2 to this power rounds. 14 is about a second of work.
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=14;

/// Length of a base64 text of a SHA-1 digest.
const SHA1_LENGTH: usize = 28;

impl PasswordHash {
    /// Checks the form of a hash.
    ///
    /// # Errors
    ///
    /// When the scheme is not known, when the text cannot be the hash of anything, or when a check
    /// would take too long.
    pub fn new(text: &str) -> Result<Self, UnusableHash> {
        let scheme = HashScheme::of(text)?;
        scheme.check(text)?;
        Ok(Self {
            scheme,
            text: text.to_owned(),
        })
    }

    /// Its scheme.
    pub fn scheme(&self) -> HashScheme {
        self.scheme
    }

    /// The text, for checks of passwords alone: it is a secret.
    pub fn secret_text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}(..)", self.scheme)
    }
}

impl HashScheme {
    fn of(text: &str) -> Result<Self, UnusableHash> {
        let schemes = [
            ("$1$", Self::Md5),
            ("$apr1$", Self::ApacheMd5),
            ("$5$", Self::Sha256),
            ("$6$", Self::Sha512),
            ("$2a$", Self::Bcrypt),
            ("$2b$", Self::Bcrypt),
            ("$2y$", Self::Bcrypt),
            ("{SHA}", Self::Sha1),
        ];
        let mut schemes = schemes.into_iter();
        let found = schemes.find(|(prefix, _)| text.starts_with(prefix));
        found
            .map(|(_, scheme)| scheme)
            .ok_or(UnusableHash::UnknownScheme)
    }

    /// Checks what follows the prefix.
    fn check(self, text: &str) -> Result<(), UnusableHash> {
        let fields: Vec<&str> = text.split('$').skip(2).collect();
        match (self, fields.as_slice()) {
            (Self::Md5 | Self::ApacheMd5, [salt, digest]) => {
                check_text(salt, 0..=8)?;
                check_text(digest, 22..=22)
            }
            (Self::Sha256, [.., digest]) => {
                check_rounds_and_salt(&fields)?;
                check_text(digest, 43..=43)
            }
            (Self::Sha512, [.., digest]) => {
                check_rounds_and_salt(&fields)?;
                check_text(digest, 86..=86)
            }
            (Self::Bcrypt, [cost, salted]) => {
                let is_number = cost.len() == 2 && cost.bytes().all(|sign| sign.is_ascii_digit());
                let cost: u32 = cost.parse().map_err(|_| UnusableHash::Malformed)?;
                check_text(salted, 53..=53)?;
                match BCRYPT_COSTS.contains(&cost) {
                    true if is_number => Ok(()),
                    false if cost > *BCRYPT_COSTS.end() => Err(UnusableHash::TooCostly),
                    true | false => Err(UnusableHash::Malformed),
                }
            }
            (Self::Sha1, _) => {
                let digest = text.strip_prefix("{SHA}").unwrap_or_default();
                let is_base64 =
                    |sign: u8| sign.is_ascii_alphanumeric() || matches!(sign, b'+' | b'/');
                let digits = digest.strip_suffix('=').unwrap_or_default();
                let is_whole = digest.len() == SHA1_LENGTH && digits.bytes().all(is_base64);
                is_whole.then_some(()).ok_or(UnusableHash::Malformed)
            }
            (Self::Md5 | Self::ApacheMd5 | Self::Sha256 | Self::Sha512 | Self::Bcrypt, _) => {
                Err(UnusableHash::Malformed)
            }
        }
    }
}

/// Checks the optional number of rounds and the salt before a digest of SHA-crypt.
fn check_rounds_and_salt(fields: &[&str]) -> Result<(), UnusableHash> {
    let salt = match fields {
        [salt, _] => salt,
        [rounds, salt, _] => {
            let rounds = rounds.strip_prefix("rounds=");
            let rounds = rounds.and_then(|rounds| rounds.parse::<u32>().ok());
            match rounds.ok_or(UnusableHash::Malformed)? {
                ..MIN_ROUNDS => return Err(UnusableHash::Malformed),
                MIN_ROUNDS..=MAX_ROUNDS => salt,
                _ => return Err(UnusableHash::TooCostly),
            }
        }
        _ => return Err(UnusableHash::Malformed),
    };
    check_text(salt, 1..=16)
}

/// Checks the length of a field, and that it has crypt's signs alone.
fn check_text(text: &str, lengths: std::ops::RangeInclusive<usize>) -> Result<(), UnusableHash> {
    let is_sign = |sign: u8| sign.is_ascii_alphanumeric() || matches!(sign, b'.' | b'/');
    let is_good = lengths.contains(&text.len()) && text.bytes().all(is_sign);
    is_good.then_some(()).ok_or(UnusableHash::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_known_forms_are_taken() {
        for (text, scheme) in [
            ("$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1", HashScheme::Md5),
            ("$1$$qRPK7m23GJusamGpoGLby/", HashScheme::Md5),
            (
                "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/",
                HashScheme::ApacheMd5,
            ),
            (
                "$5$rounds=1234$a$IFp0owlsIV0cqbWElKYLyVZLD9LpTUxFz1chDEvPXTC",
                HashScheme::Sha256,
            ),
            (
                "$6$salt$PZH26zWDra0V2McYqQpt6VuY39j3hriWk5G0ieduSqYnXCzaqHDLiqBeMZhEJEYhqGFK7k3V\
                 il71um6JXfiQ81",
                HashScheme::Sha512,
            ),
            (
                "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
                HashScheme::Bcrypt,
            ),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", HashScheme::Sha1),
        ] {
            let hash = PasswordHash::new(text).unwrap();
            assert_eq!(hash.scheme(), scheme, "{text}");
            assert!(!format!("{hash:?}").contains(&text[6..]), "{hash:?}");
        }
    }

    #[test]
    fn other_texts_are_not() {
        use UnusableHash::{Malformed, TooCostly, UnknownScheme};
        for (text, why) in [
            ("", UnknownScheme),
            ("secret", UnknownScheme),
            ("abNANd1rDfiNc", UnknownScheme),
            (
                "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$tnSYvahCwPBHKZUspmcxMfb0",
                UnknownScheme,
            ),
            ("$1$abc$hash", Malformed),
            ("$1$abcdefghi$cHJi5PXp/ki/ktXzqlk6I1", Malformed),
            ("$1$ab cdef$cHJi5PXp/ki/ktXzqlk6I1", Malformed),
            ("$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1$", Malformed),
            ("$6$salt$", Malformed),
            ("$6$", Malformed),
            (
                "$5$rounds=999$a$IFp0owlsIV0cqbWElKYLyVZLD9LpTUxFz1chDEvPXTC",
                Malformed,
            ),
            (
                "$5$rounds=x$a$IFp0owlsIV0cqbWElKYLyVZLD9LpTUxFz1chDEvPXTC",
                Malformed,
            ),
            (
                "$5$rounds=1000001$a$IFp0owlsIV0cqbWElKYLyVZLD9LpTUxFz1chDEvPXTC",
                TooCostly,
            ),
            (
                "$2y$15$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
                TooCostly,
            ),
            (
                "$2y$03$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
                Malformed,
            ),
            (
                "$2y$+5$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
                Malformed,
            ),
            ("$2y$05$short", Malformed),
            ("{SHA}", Malformed),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ", Malformed),
            ("{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", UnknownScheme),
        ] {
            assert_eq!(PasswordHash::new(text), Err(why), "{text}");
        }
    }
}
