//! Credentials of a request, as HTTP Basic carries them.

use data_encoding::BASE64;

/// Longest user and longest password, in bytes: crypt(3) takes no longer ones either, and the cost
/// of a check grows with the length.
const LONGEST_BYTES: usize = 512;

/// A user and a password. There is no output of it.
pub(super) struct Credentials {
    pub(super) user: Vec<u8>,
    pub(super) password: Vec<u8>,
}

impl Credentials {
    /// Reads the value of an `Authorization` header
    /// ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617#section-2)). None if it is of another
    /// scheme, malformed, or too long.
    pub(super) fn of_header(value: &str) -> Option<Self> {
        let (scheme, encoded) = value.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = BASE64.decode(encoded.trim().as_bytes()).ok()?;
        let colon = decoded.iter().position(|sign| *sign == b':')?;
        let (user, password) = (decoded.get(..colon)?, decoded.get(colon + 1..)?);
        let fits = user.len() <= LONGEST_BYTES && password.len() <= LONGEST_BYTES;
        fits.then(|| Self {
            user: user.to_vec(),
            password: password.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<(String, String)> {
        let read = Credentials::of_header(value)?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Some((text(read.user), text(read.password)))
    }

    #[test]
    fn user_and_password_are_apart_at_the_first_colon() {
        let joe = ("joe".to_owned(), "se:cret".to_owned());
        assert_eq!(read("Basic am9lOnNlOmNyZXQ="), Some(joe.clone()));
        assert_eq!(read("basic  am9lOnNlOmNyZXQ= "), Some(joe));
        assert_eq!(read("Basic Og=="), Some(Default::default()));
    }

    #[test]
    fn what_is_not_basic_is_nothing() {
        let long = format!("Basic {}", BASE64.encode(&[b'a'; LONGEST_BYTES + 2]));
        let longer = format!(
            "Basic {}",
            BASE64.encode(format!("joe:{}", "a".repeat(LONGEST_BYTES + 1)).as_bytes())
        );
        for value in [
            "",
            "Basic",
            "Basic ",
            "Basic am9l",
            "Basic am9lOnNlOmNyZXQ",
            "Basic am9lOnNlOmNyZXQ=,Basic am9lOnNlOmNyZXQ=",
            "Bearer am9lOnNlOmNyZXQ=",
            &long,
            &longer,
        ] {
            assert_eq!(read(value), None, "{value}");
        }
    }
}
