//! The key that seals a record: AES-256-GCM, with a random nonce for each record.

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER_PERMISSIVE;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

/// The length of a key in bytes.
const KEY_BYTES: usize = 32;

/// The key that seals a record. Prints as dots.
#[derive(Clone)]
pub struct SealingKey(Arc<LessSafeKey>);

/// Reason for which a text is no key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it holds neither {KEY_BYTES} bytes nor {} hexadecimal digits", 2 * KEY_BYTES)]
pub struct BadKey;

/// The nonce of one record.
pub(super) type RecordNonce = [u8; NONCE_LEN];

impl SealingKey {
    /// Reads the content of a key file: 32 bytes as they are, or as 64 hexadecimal digits on a line.
    ///
    /// # Errors
    ///
    /// When it is neither.
    pub fn parse(file: &[u8]) -> Result<Self, BadKey> {
        let bytes = match file.len() {
            KEY_BYTES => file.to_vec(),
            _ => HEXLOWER_PERMISSIVE
                .decode(file.trim_ascii())
                .map_err(|_| BadKey)?,
        };
        // Fails unless the length is right.
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| BadKey)?;
        Ok(Self(Arc::new(LessSafeKey::new(key))))
    }

    /// A random nonce; none without a source of randomness. One key may seal four thousand million
    /// records before two nonces are likely to meet, 600 years of a record every 5 s.
    pub(super) fn nonce() -> Option<RecordNonce> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        Some(nonce)
    }

    /// Seals `bytes` in place and appends the tag. `header` is authenticated with them.
    pub(super) fn seal(
        &self,
        nonce: RecordNonce,
        header: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Option<()> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self
            .0
            .seal_in_place_append_tag(nonce, Aad::from(header), bytes);
        sealed.ok()
    }

    /// Opens what was sealed with this key and `header`; none if it was not.
    pub(super) fn open<'a>(
        &self,
        nonce: RecordNonce,
        header: &[u8],
        bytes: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self.0.open_in_place(nonce, Aad::from(header), bytes);
        opened.ok().map(|opened| &*opened)
    }

    /// Number of bytes that sealing adds.
    pub(super) fn tag_bytes() -> usize {
        AES_256_GCM.tag_len()
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_or_64_hexadecimal_digits() {
        assert!(SealingKey::parse(&[7; 32]).is_ok());
        let digits = "0123456789abcdefABCDEF0123456789".repeat(2);
        assert!(SealingKey::parse(digits.as_bytes()).is_ok());
        assert!(SealingKey::parse(format!("{digits}\n").as_bytes()).is_ok());
        let mut wrong = vec![Vec::new(), vec![7; 31], vec![7; 33], vec![b'a'; 62]];
        wrong.push("g".repeat(64).into_bytes());
        for file in wrong {
            assert_eq!(SealingKey::parse(&file).unwrap_err(), BadKey, "{file:?}");
        }
        assert_eq!(format!("{:?}", SealingKey::parse(&[7; 32]).unwrap()), "...");
    }
}
