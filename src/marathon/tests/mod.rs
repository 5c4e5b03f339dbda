//! Tests of the room: reading what Marathon writes, and following it over real sockets.

mod faults;
mod following;
mod lists;
mod logins;
mod order;
mod peer;
mod pods;
mod reading;
mod redirects;
mod signs_of_life;
mod streams;
mod tls;
