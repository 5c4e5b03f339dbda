//! Tests of the room: reading what Marathon writes, and following it over real sockets.

mod following;
mod logins;
mod peer;
mod reading;
mod redirects;
mod signs_of_life;
mod streams;
mod tls;
