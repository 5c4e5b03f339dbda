//! Pieces of answers that several connections may hold: whose each is, and what all share.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::account::Account;

/// Pieces of answers by their address in memory. What one connection alone holds is pinned by it;
/// what several hold is nobody's own and counts once.
#[derive(Default)]
pub(super) struct SharedPieces {
    by_address: BTreeMap<usize, Piece>,
    common_bytes: usize,
}

struct Piece {
    bytes: usize,
    /// By number of the connection.
    holders: BTreeMap<u64, Holder>,
}

struct Holder {
    account: Arc<Account>,
    /// Answers of the connection that it is in.
    answers: usize,
}

impl SharedPieces {
    /// Counts one more answer of a connection that a piece is in. Answers the one that had it
    /// alone before.
    pub(super) fn pin(
        &mut self,
        account: &Arc<Account>,
        address: usize,
        bytes: usize,
    ) -> Option<Arc<Account>> {
        let piece = self.by_address.entry(address).or_insert_with(|| Piece {
            bytes,
            holders: BTreeMap::new(),
        });
        if let Some(holder) = piece.holders.get_mut(&account.number) {
            holder.answers += 1;
            return None;
        }
        let before = piece.sole_holder().cloned();
        if let Some(before) = &before {
            before.let_go(piece.bytes);
            self.common_bytes += piece.bytes;
        } else if piece.holders.is_empty() {
            account.hold(piece.bytes);
        }
        let holder = Holder {
            account: account.clone(),
            answers: 1,
        };
        piece.holders.insert(account.number, holder);
        before
    }

    /// Counts one answer less. Answers the connection that has the piece alone from now on.
    pub(super) fn unpin(&mut self, account: &Account, address: usize) -> Option<Arc<Account>> {
        let piece = self.by_address.get_mut(&address)?;
        let holder = piece.holders.get_mut(&account.number)?;
        holder.answers -= 1;
        if holder.answers > 0 {
            return None;
        }
        piece.holders.remove(&account.number);
        if piece.holders.is_empty() {
            account.let_go(piece.bytes);
            self.by_address.remove(&address);
            return None;
        }
        let sole = piece.sole_holder().cloned()?;
        self.common_bytes -= piece.bytes;
        sole.hold(piece.bytes);
        Some(sole)
    }

    /// Bytes of what several connections hold.
    pub(super) fn common_bytes(&self) -> usize {
        self.common_bytes
    }

    /// The same without what goes with connections that are cut.
    pub(super) fn staying_bytes(&self) -> usize {
        let staying = self.common().filter(|piece| piece.staying().count() > 0);
        staying.map(|piece| piece.bytes).sum()
    }

    /// The part of each connection in what several hold, by number: all have the same of a piece.
    pub(super) fn parts(&self) -> BTreeMap<u64, usize> {
        let mut parts = BTreeMap::new();
        for piece in self.common() {
            let part = piece.bytes / piece.staying().count().max(1);
            for account in piece.staying() {
                *parts.entry(account.number).or_default() += part;
            }
        }
        parts
    }

    /// Says if there are none.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_address.is_empty() && self.common_bytes == 0
    }

    fn common(&self) -> impl Iterator<Item = &Piece> {
        let pieces = self.by_address.values();
        pieces.filter(|piece| piece.holders.len() > 1)
    }
}

impl Piece {
    fn sole_holder(&self) -> Option<&Arc<Account>> {
        let mut holders = self.holders.values();
        match (holders.next(), holders.next()) {
            (Some(sole), None) => Some(&sole.account),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }

    fn staying(&self) -> impl Iterator<Item = &Arc<Account>> {
        let accounts = self.holders.values().map(|holder| &holder.account);
        accounts.filter(|account| !account.is_cut())
    }
}
