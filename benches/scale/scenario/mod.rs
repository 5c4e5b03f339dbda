//! The scenarios, and what they have in common.

mod bytes;
mod change;
mod environment;
mod envoy;
mod fanout;
mod measure;
mod memory;
mod recording;
mod refresh;
mod start;
mod storm;
mod subject;

pub(crate) use bytes::bytes;
pub(crate) use change::change;
pub(crate) use fanout::fanout;
pub(crate) use memory::memory;
pub(crate) use refresh::refresh;
pub(crate) use start::start;
pub(crate) use storm::storm;
