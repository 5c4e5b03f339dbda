//! Pieces of answers that several connections may hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::account::Account;

/// Pieces of answers by their address in memory. A piece with one holder counts for that
/// connection; a piece with several counts once, in the total.
#[derive(Default)]
pub(super) struct SharedPieces {
    by_address: BTreeMap<usize, SharedPiece>,
    common_bytes: usize,
}

struct SharedPiece {
    bytes: usize,
    /// By number of the connection.
    holders: BTreeMap<u64, PieceHolder>,
}

struct PieceHolder {
    account: Arc<Account>,
    /// Number of answers of the connection that hold it.
    answers: usize,
}

impl SharedPieces {
    /// Adds one answer of a connection that holds the piece. Returns the connection that was its
    /// sole holder before.
    pub(super) fn pin(
        &mut self,
        account: &Arc<Account>,
        address: usize,
        bytes: usize,
    ) -> Option<Arc<Account>> {
        let piece = self
            .by_address
            .entry(address)
            .or_insert_with(|| SharedPiece {
                bytes,
                holders: BTreeMap::new(),
            });
        if let Some(holder) = piece.holders.get_mut(&account.number) {
            holder.answers += 1;
            return None;
        }
        let before = piece.sole_holder().cloned();
        if let Some(before) = &before {
            before.remove_exclusive(piece.bytes);
            self.common_bytes += piece.bytes;
        } else if piece.holders.is_empty() {
            account.add_exclusive(piece.bytes);
        }
        let holder = PieceHolder {
            account: account.clone(),
            answers: 1,
        };
        piece.holders.insert(account.number, holder);
        before
    }

    /// Removes one answer. Returns the connection that is the sole holder from now on.
    pub(super) fn unpin(&mut self, account: &Account, address: usize) -> Option<Arc<Account>> {
        let piece = self.by_address.get_mut(&address)?;
        let holder = piece.holders.get_mut(&account.number)?;
        holder.answers -= 1;
        if holder.answers > 0 {
            return None;
        }
        piece.holders.remove(&account.number);
        if piece.holders.is_empty() {
            account.remove_exclusive(piece.bytes);
            self.by_address.remove(&address);
            return None;
        }
        let sole = piece.sole_holder().cloned()?;
        self.common_bytes -= piece.bytes;
        sole.add_exclusive(piece.bytes);
        Some(sole)
    }

    /// Bytes of the pieces with several holders.
    pub(super) fn common_bytes(&self) -> usize {
        self.common_bytes
    }

    /// The same without pieces whose holders are all cut.
    pub(super) fn live_common_bytes(&self) -> usize {
        let live = self.common().filter(|piece| piece.live().count() > 0);
        live.map(|piece| piece.bytes).sum()
    }

    /// The share of each connection in pieces with several holders, by number: a piece is divided
    /// evenly.
    pub(super) fn shares(&self) -> BTreeMap<u64, usize> {
        let mut shares = BTreeMap::new();
        for piece in self.common() {
            let share = piece.bytes / piece.live().count().max(1);
            for account in piece.live() {
                *shares.entry(account.number).or_default() += share;
            }
        }
        shares
    }

    /// Returns true if there are none.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_address.is_empty() && self.common_bytes == 0
    }

    fn common(&self) -> impl Iterator<Item = &SharedPiece> {
        let pieces = self.by_address.values();
        pieces.filter(|piece| piece.holders.len() > 1)
    }
}

impl SharedPiece {
    fn sole_holder(&self) -> Option<&Arc<Account>> {
        let mut holders = self.holders.values();
        match (holders.next(), holders.next()) {
            (Some(sole), None) => Some(&sole.account),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }

    fn live(&self) -> impl Iterator<Item = &Arc<Account>> {
        let accounts = self.holders.values().map(|holder| &holder.account);
        accounts.filter(|account| !account.is_cut())
    }
}
