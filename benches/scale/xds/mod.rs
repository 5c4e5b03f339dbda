//! Simulated proxies: what they say, what they read, and when they saw a change.

mod answer;
mod board;
mod fleet;
mod kind;
mod mark;
mod names;
mod node;
mod poll;
mod session;
mod stream;
mod wire;

pub(crate) use answer::{Answer, Variant};
pub(crate) use fleet::{Fleet, FleetOptions, Polled};
pub(crate) use kind::Kind;
pub(crate) use mark::{Mark, domains, endpoint_ports};
pub(crate) use names::NAMES_FIELD;
pub(crate) use node::{UserAgent, node_json};
pub(crate) use poll::{Connection, PollError, connect};
pub(crate) use wire::{Frames, fields, framed, put_field};
