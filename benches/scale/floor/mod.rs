//! Lower bounds: the least that any server of this machine needs for the same bytes.
//!
//! Floors are processes of their own, so that their processor time and memory are read as those of
//! the measured server: this binary runs itself with a hidden command.

mod child;
mod http2;
mod orders;
mod parse;
mod store;
mod tcp;

pub(crate) use child::Floor;
pub(crate) use http2::{Http2Arguments, serve_http2};
pub(crate) use parse::parse;
pub(crate) use tcp::{TcpArguments, TcpFleet, serve_tcp};
