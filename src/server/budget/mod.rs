//! Budgets: what one connection, one peer and all together may pin, and who is cut beyond it.

mod account;
mod cut;
mod ledger;
mod limits;
mod outflow;
mod resets;
mod shared_pieces;
pub(super) use account::Account;
pub use account::RequestBytes;
pub(super) use cut::CutReason;
pub(super) use ledger::Budgets;
pub use ledger::PeerKey;
pub use limits::{BudgetLimits, ByteLimits, ResetLimits};
pub use outflow::{Outflow, SHARED_BYTES, SharedOrigin, UnsentPiece};
pub(super) use resets::OpenRequest;

#[cfg(test)]
mod tests;
