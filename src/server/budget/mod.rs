//! Budgets: limits of what a connection, a peer and all connections may buffer, and the choice of
//! the connection that is cut beyond them.

mod account;
mod cut;
mod ledger;
mod limits;
mod outflow;
mod peer_key;
mod resets;
mod shared_pieces;
pub(super) use account::Account;
pub use account::RequestBytes;
pub(super) use cut::CutReason;
pub(super) use ledger::Budgets;
pub use limits::{BudgetLimits, ByteLimits, ResetLimits};
pub use outflow::{Outflow, SHARED_BYTES, SharedOrigin, UnsentPiece};
pub use peer_key::PeerKey;
pub(super) use resets::OpenRequest;

#[cfg(test)]
mod tests;
