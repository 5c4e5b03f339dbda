//! gRPC on the listener: framing, status and responses, whatever the service.

mod messages;
mod protocol;
mod requests;
mod status;

pub use messages::{Messages, Outlet};
pub use protocol::{is_grpc, reject, respond};
pub use requests::{PREFIX_BYTES, Requests, Unsent, framed};
pub use status::{Code, Status};
