//! Budgets: what one connection, one peer and all together may pin, and who is cut beyond it.

mod account;
mod cut;
mod ledger;
mod limits;
mod outflow;
pub(super) use account::Account;
pub use account::RequestBytes;
pub use cut::CutReason;
pub(super) use ledger::{Budgets, PeerKey};
pub use limits::{BudgetLimits, ByteLimits};
pub use outflow::{Outflow, UnsentPiece};

#[cfg(test)]
mod tests;
