//! The bytes of a record: one line of header, then the content, so that any change of any byte is
//! noticed.
//!
//! `marathon-envoy-record FORMAT PROTECTION LENGTH`, where the protection is `sha256:DIGEST` of plain
//! content, or `aes-256-gcm:NONCE` of sealed content. The header of a record that is read has to be,
//! byte for byte, the one that would have been written.

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::fault::RecordFault;
use super::key::{RecordNonce, SealingKey};

/// Number of the format. Any change of what [`document`](super::document) writes needs another one,
/// which a test holds.
pub(super) const FORMAT: u32 = 2;

/// The oldest format that is still read: a new release starts with what the former one wrote. What
/// differs is read by [`document`](super::document) as well.
const OLDEST_FORMAT: u32 = 1;

const MAGIC: &str = "marathon-envoy-record";
const PLAIN: &str = "sha256";
const SEALED: &str = "aes-256-gcm";

/// Longest header: twice what it takes.
const LONGEST_HEADER: usize = 256;

/// Returns the bytes of a record with this content, sealed if there is a key.
pub(super) fn framed(
    mut content: Vec<u8>,
    key: Option<&SealingKey>,
) -> Result<Vec<u8>, RecordFault> {
    let header = match key {
        None => header(FORMAT, &plain(&content), content.len()),
        Some(key) => {
            let nonce = SealingKey::nonce().ok_or(RecordFault::Unsealable)?;
            let length = content.len() + SealingKey::tag_bytes();
            let header = header(FORMAT, &sealed(nonce), length);
            key.seal(nonce, header.as_bytes(), &mut content)
                .ok_or(RecordFault::Unsealable)?;
            header
        }
    };
    let mut record = header.into_bytes();
    record.append(&mut content);
    Ok(record)
}

/// Returns the content of a record, which is opened in place.
pub(super) fn content<'a>(
    record: &'a mut [u8],
    key: Option<&SealingKey>,
) -> Result<&'a [u8], RecordFault> {
    let end = record
        .iter()
        .take(LONGEST_HEADER)
        .position(|byte| *byte == b'\n');
    let split = end.and_then(|end| record.split_at_mut_checked(end + 1));
    let (found, content) = split.ok_or(RecordFault::Foreign)?;
    let text = std::str::from_utf8(found).map_err(|_| RecordFault::Foreign)?;
    let mut words = text.split_ascii_whitespace();
    if words.next() != Some(MAGIC) {
        return Err(RecordFault::Foreign);
    }
    let found_format = words.next().unwrap_or_default();
    let mut readable = OLDEST_FORMAT..=FORMAT;
    let Some(format) = readable.find(|format| found_format == format.to_string()) else {
        return Err(RecordFault::OtherFormat {
            found: found_format.escape_default().to_string(),
            ours: FORMAT,
        });
    };
    let protection = words.next().unwrap_or_default();
    let length = words.next().and_then(|length| length.parse().ok());
    let expected = length.ok_or(RecordFault::Damaged)?;
    if content.len() != expected {
        return Err(RecordFault::Length {
            expected,
            found: content.len(),
        });
    }
    let is_exactly = |protection: &str| *found == *header(format, protection, expected).as_bytes();
    match (protection.split_once(':'), key) {
        (Some((PLAIN, _)), None) => is_exactly(&plain(content))
            .then_some(&*content)
            .ok_or(RecordFault::Damaged),
        (Some((PLAIN, _)), Some(_)) => Err(RecordFault::NotSealed),
        (Some((SEALED, _)), None) => Err(RecordFault::NoKey),
        (Some((SEALED, nonce)), Some(key)) => {
            let nonce = HEXLOWER.decode(nonce.as_bytes()).ok();
            let nonce = nonce.and_then(|nonce| RecordNonce::try_from(nonce).ok());
            let nonce = nonce.filter(|nonce| is_exactly(&sealed(*nonce)));
            let nonce = nonce.ok_or(RecordFault::Damaged)?;
            key.open(nonce, found, content).ok_or(RecordFault::WrongKey)
        }
        (Some(_) | None, _) => Err(RecordFault::Damaged),
    }
}

fn header(format: u32, protection: &str, length: usize) -> String {
    format!("{MAGIC} {format} {protection} {length}\n")
}

fn plain(content: &[u8]) -> String {
    format!("{PLAIN}:{}", HEXLOWER.encode(&Sha256::digest(content)))
}

fn sealed(nonce: RecordNonce) -> String {
    format!("{SEALED}:{}", HEXLOWER.encode(&nonce))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> [Option<SealingKey>; 2] {
        [None, Some(SealingKey::parse(&[7; 32]).unwrap())]
    }

    fn read(mut record: Vec<u8>, key: Option<&SealingKey>) -> Result<Vec<u8>, RecordFault> {
        content(&mut record, key).map(<[u8]>::to_vec)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(content: Vec<u8>) {
            for key in keys() {
                let record = framed(content.clone(), key.as_ref()).unwrap();
                prop_assert_eq!(read(record, key.as_ref()).unwrap(), content.clone());
            }
        }

        #[test]
        fn any_bytes_are_no_record(bytes: Vec<u8>) {
            for key in keys() {
                prop_assert!(read(bytes.clone(), key.as_ref()).is_err());
            }
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_and_added_byte_is_noticed() {
        for key in keys() {
            let record = framed(b"{\"apps\":[]}".to_vec(), key.as_ref()).unwrap();
            for at in 0..record.len() {
                for bit in 0..8 {
                    let mut flipped = record.clone();
                    flipped[at] ^= 1 << bit;
                    assert!(read(flipped, key.as_ref()).is_err(), "{at} {bit}");
                }
                assert!(read(record[..at].to_vec(), key.as_ref()).is_err(), "{at}");
            }
            let mut longer = record;
            longer.push(b'\n');
            assert!(read(longer, key.as_ref()).is_err());
        }
    }

    #[test]
    fn two_records_of_one_key_share_nothing() {
        let [_, key] = keys();
        let sealed = || framed(vec![0; 64], key.as_ref()).unwrap();
        assert_ne!(sealed(), sealed());
    }

    /// The reason for which a record is refused.
    fn refused(record: impl Into<Vec<u8>>, key: Option<&SealingKey>) -> String {
        read(record.into(), key).unwrap_err().to_string()
    }

    #[test]
    fn each_reason_is_told_apart() {
        let [_, key] = keys();
        let key = key.as_ref();
        let other = SealingKey::parse(&[8; 32]).unwrap();
        let empty = || b"{}".to_vec();
        let plain = framed(empty(), None).unwrap();
        let sealed = framed(empty(), key).unwrap();
        let text = String::from_utf8(plain.clone()).unwrap();
        for (reason, words) in [
            (refused("", None), "no record"),
            (refused("{}\n", None), "no record"),
            (
                refused(text.replace(" 2 sha", " 3 sha"), None),
                "has format 3",
            ),
            (
                refused(text.replace("{}", "{"), None),
                "1 bytes instead of 2",
            ),
            (refused(text.replace("{}", "[]"), None), "checksum"),
            (refused(text.replace(" 2\n", " +2\n"), None), "checksum"),
            (refused(text.replace("sha256", "crc32"), None), "checksum"),
            (refused(plain, key), "not sealed"),
            (refused(sealed.clone(), None), "no key"),
            (refused(sealed, Some(&other)), "does not open it"),
        ] {
            assert!(reason.contains(words), "{reason}");
        }
    }
}
