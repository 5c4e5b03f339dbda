//! The server of the xDS port: accepts connections, authenticates peers by TLS, enforces budgets,
//! and routes requests by path to the registered services.

mod accept;
mod accept_failure;
mod activity_stream;
mod allow_list;
mod budget;
mod config;
mod connection;
mod connection_activity;
mod connection_end;
mod connection_slots;
mod descriptors;
mod error;
pub mod grpc;
mod handover;
mod json_filter;
mod listener;
mod peer;
mod peer_identity;
mod rejected_peers;
mod request_body;
mod response;
mod security;
mod server_state;
mod service;
mod shutdown;
#[cfg(test)]
pub(crate) mod tests;
mod tls;

pub use accept::serve;
pub use allow_list::{AllowList, BadName, ListedNames};
pub use budget::{
    BudgetLimits, ByteLimits, Outflow, PeerKey, RequestBytes, ResetLimits, SHARED_BYTES,
    SharedOrigin, UnsentPiece,
};
pub use config::Config;
pub use connection_end::ConnectionEnd;
pub use descriptors::raise_descriptor_limit;
pub use error::Error;
pub use handover::Handover;
pub use listener::{Listener, SocketFile};
pub use peer::{Peer, PeerEnd};
pub use peer_identity::PeerRejection;
pub use rejected_peers::{RejectedPeers, RejectedView};
pub use request_body::UnreadBody;
pub use response::ResponseBody;
pub use security::Security;
pub use service::{PathService, ResponseFuture, Services};
pub use tls::ServerTls;
