//! The last known good configuration on disk: what Marathon said last, so that a start without
//! Marathon serves it.
//!
//! A record is one file, `world`, in a folder of its own (`STATE_DIR`): a line with magic, format,
//! protection and length, then the facts of a [`World`](crate::pipeline::World) as JSON. It is
//! replaced as a whole: a new file is written beside it, synchronised and renamed. Whatever is wrong
//! with it, from a flipped bit to a foreign owner, is one warning and a start without it.
//!
//! It holds no private key unless a key file seals it. The apps' `env` is not among the facts.

mod checks;
mod config;
mod departed;
mod document;
mod fault;
mod frame;
mod key;
mod reader;
mod recorder;
mod storage;
#[cfg(test)]
mod tests;
mod translate;

pub use config::Config;
pub use key::{BadKey, SealingKey};
pub use reader::{Restored, restore};
pub use recorder::{Recorder, SourceSilence};
