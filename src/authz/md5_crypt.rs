//! crypt(3) with MD5: `$1$` of FreeBSD and `$apr1$` of Apache.
//!
//! No maintained crate has it, and labels written for HAProxy do.

use md5::{Digest as _, Md5};

/// First field of crypt's own form.
pub(super) const MAGIC: &str = "$1$";

/// First field of Apache's form.
pub(super) const APACHE_MAGIC: &str = "$apr1$";

/// Number of rounds, which is fixed.
const ROUNDS: usize = 1_000;

/// Signs of crypt's base 64, by value.
const SIGNS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Positions of the digest's bytes in the text, three at a time, the highest bits first. The
/// sixteenth byte, at 11, comes last and alone.
const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];

/// Returns the hash of a password with the magic and the salt of `setting`, which may be a hash.
pub(super) fn md5_crypt(password: &[u8], setting: &str, magic: &str) -> String {
    let salt = setting.strip_prefix(magic).unwrap_or_default();
    let salt = salt.split('$').next().unwrap_or_default();
    let digest = digest(password, magic.as_bytes(), salt.as_bytes());
    format!("{magic}{salt}${}", text(&digest))
}

fn digest(password: &[u8], magic: &[u8], salt: &[u8]) -> [u8; 16] {
    let inner = Md5::new().chain_update(password).chain_update(salt);
    let inner = inner.chain_update(password).finalize();
    let mut outer = Md5::new().chain_update(password).chain_update(magic);
    outer.update(salt);
    for position in 0..password.len() {
        outer.update([inner
            .get(position % inner.len())
            .copied()
            .unwrap_or_default()]);
    }
    let mut bits = password.len();
    while bits > 0 {
        match bits % 2 {
            1 => outer.update([0]),
            _ => outer.update(password.get(..1).unwrap_or_default()),
        }
        bits /= 2;
    }
    let mut digest: [u8; 16] = outer.finalize().into();
    for round in 0..ROUNDS {
        let mut next = Md5::new();
        let is_odd = round % 2 == 1;
        next.update(if is_odd { password } else { &digest });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if is_odd { &digest[..] } else { password });
        digest = next.finalize().into();
    }
    digest
}

fn text(digest: &[u8; 16]) -> String {
    let byte = |at: usize| u32::from(digest.get(at).copied().unwrap_or_default());
    let mut text = String::with_capacity(22);
    let mut push = |mut bits: u32, signs: usize| {
        for _ in 0..signs {
            let sign = SIGNS.get((bits % 64) as usize).copied().unwrap_or_default();
            text.push(sign.into());
            bits /= 64;
        }
    };
    for [high, middle, low] in ORDER {
        push(byte(high) << 16 | byte(middle) << 8 | byte(low), 4);
    }
    push(byte(11), 2);
    text
}
