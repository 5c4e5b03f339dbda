//! A password against its hash, whatever the scheme.

use data_encoding::BASE64;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use sha_crypt::{PasswordVerifier as _, ShaCrypt};
use subtle::ConstantTimeEq as _;

use super::md5_crypt::{APACHE_MAGIC, MAGIC, md5_crypt};
use crate::intent::{HashScheme, PasswordHash};

/// Returns true if `hash` is one of `password`. It takes as long for a wrong password as for the
/// right one: from a fraction of a millisecond to about a second, by the scheme.
pub(super) fn matches(password: &[u8], hash: &PasswordHash) -> bool {
    let text = hash.secret_text();
    match hash.scheme() {
        HashScheme::Md5 => is_equal(md5_crypt(password, text, MAGIC), text),
        HashScheme::ApacheMd5 => is_equal(md5_crypt(password, text, APACHE_MAGIC), text),
        HashScheme::Sha256 | HashScheme::Sha512 => {
            ShaCrypt::default().verify_password(password, text).is_ok()
        }
        HashScheme::Bcrypt => bcrypt::verify(password, text).unwrap_or(false),
        HashScheme::Sha1 => {
            let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, password);
            is_equal(format!("{{SHA}}{}", BASE64.encode(digest.as_ref())), text)
        }
    }
}

fn is_equal(one: String, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than the blocks of every digest.
    const LONG: &str =
        "a much longer password, of more than sixty-four bytes, for the last block of all";

    #[test]
    fn hashes_made_by_crypt_and_openssl_match_their_passwords_alone() {
        for (password, hash) in [
            ("secret", "$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1"),
            ("secret", "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"),
            ("", "$1$$qRPK7m23GJusamGpoGLby/"),
            (LONG, "$1$x$BCgB8t97z9DlZRy0rk0l0/"),
            (
                "Hello world!",
                "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
            ),
            (
                "secret",
                "$5$rounds=1234$a$IFp0owlsIV0cqbWElKYLyVZLD9LpTUxFz1chDEvPXTC",
            ),
            (
                "Hello world!",
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLi\
                 BFdcbYEdFCoEOfaS35inz1",
            ),
            (
                "secret",
                "$6$rounds=1000$saltsaltsaltsalt$cv7no.30n.S75jcCNBQv6o7WVXQ5AaB1EpIeSKwsNupcnQD\
                 Q0DsukcAPRNjPumwKIBg2JK5ii9uw5enNnnA4N/",
            ),
            (
                "pässwort",
                "$6$salt$PZH26zWDra0V2McYqQpt6VuY39j3hriWk5G0ieduSqYnXCzaqHDLiqBeMZhEJEYhqGFK7k3V\
                 il71um6JXfiQ81",
            ),
            (
                LONG,
                "$6$x$.t6Equ5SRteFH8W9uZ0C1PgPsYqkJXl.mjeMSDPVNyYryM0fLDfPfgSP2apDuFspcrJ.7VLKfZz\
                 vovf6HgEc71",
            ),
            (
                "secret",
                "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
            ),
            ("secret", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
        ] {
            let hash = PasswordHash::new(hash).unwrap_or_else(|why| panic!("{hash}: {why}"));
            assert!(matches(password.as_bytes(), &hash), "{hash:?}");
            for wrong in [format!("{password}x"), "Secret".to_owned()] {
                assert!(!matches(wrong.as_bytes(), &hash), "{hash:?} {wrong}");
            }
        }
    }
}
