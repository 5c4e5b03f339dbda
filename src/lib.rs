//! A subscriber to Marathon's `/v2/events` stream feeds a pure state reducer that atomically
//! swaps an immutable config snapshot, and a hyper server answers xDS requests from the current
//! snapshot with long-poll version waits.
//!
//! ```text
//!             facts in                       core, pure                        answers out
//!
//!  Marathon ─► marathon ─┐         ┌─► state ─► labels ─► resources ─┐       ┌─► xds ─► server ─► Envoy
//!  /v2/events            │         │   reduce   intent    Envoy's    │       │            ▲
//!  Vault ─────► vault ───┼─ Event ─┤                      types      ├─ swap ┤            │
//!  PEM files ─► files ───┘         └────────── pipeline ─────────────┘       └─► admin ───┼─► operator
//!         ▲       │                                         │     snapshot                │
//!         │       └──── Identity: certificate, key, client CA ───────────────────────────┘
//!         └──────────── RefreshNeeded: what to fetch again ─┘
//! ```
//!
//! # The rooms, in the order in which data flows
//!
//! - [`marathon`] subscribes: opens the stream, lists, follows, and fetches what went stale;
//!   [`vault`] logs in, keeps its token alive and reads certificates; [`files`] reads those that
//!   lie in a folder. They turn what they hear into facts, [`Event`](state::event::Event)s, and
//!   know nothing of what becomes of them.
//! - [`state`] reduces facts to what is known. [`labels`] is Marathon's dialect: a table of labels,
//!   read into [`intent`], which holds what each port asks for in neutral nouns (services, routes,
//!   backends) and knows no label. [`resources`] writes intents as Envoy's resources. All four are
//!   pure: no IO, no clock, no failure. What cannot be served becomes a
//!   [`Problem`](state::problem::Problem) and costs nobody else anything.
//! - [`snapshot`] holds the resources of one moment, immutable and encoded once, and the cell where
//!   they are swapped whole. Versions are digests of content, so replicas agree and a restart
//!   changes nothing. It knows how far the readers of a publication are.
//! - [`server`] turns sockets into connections: the listener, TLS with the [`identity`] that Vault
//!   or files gave (swapped whole at each renewal), the list of peers that are let in, and the
//!   stop; with budgets: what a connection, a peer and all together may pin, and who is cut beyond
//!   it. It routes requests by path to the services that are listed, and knows nothing of what they
//!   answer.
//! - [`xds`] is one of these services: it answers proxies from the current snapshot. One pure
//!   engine, `xds::delivery`, knows what each client has, is owed and refused, and in which order
//!   it is sent: a client is the index of the snapshot that it accepted, and the exceptions from
//!   it, so an idle one costs nothing and a change costs what changed. `xds::rest` holds polls
//!   until the engine has an answer, `xds::grpc` sends its answers down streams.
//! - [`registry`] lists the proxies, one entry for each, whatever transport serves it: who it is,
//!   how far, since when, and for an hour those that are gone. Transports open sessions in it.
//! - [`v2`] is Envoy's old API, complete in itself: it writes resources of its own from what the
//!   pipeline offers at each publication, and answers polls as a service of [`server`]. Without its
//!   folder and the places that name it (the daemon, a setting, a bootstrap) it is gone.
//! - [`freshness`] decides when what is served counts as stale, because the source gave no sign of
//!   life for too long. Health checks, which [`xds`] answers over gRPC in frames of its own, say so
//!   then, and [`server`] hands the connections that are open over to other replicas, once.
//! - [`pipeline`] is the one loop between them: receive, drain, reduce, project, publish. What
//!   changes while readers have not looked yet is one publication once they have. [`daemon`] wires
//!   everything and decides nothing: which runtime runs which room is up to the command.
//!   [`settings`] are read once, before any port opens. [`admin`] and [`metrics`] tell operators
//!   what is going on. [`commands`] is what the binary does. [`identity`] is who this daemon is to
//!   its proxies: the sources put it there, [`server`] shows it. [`clock`] is the wall clock, which
//!   nobody but certificates needs. [`reload`] carries an operator's request to read everything
//!   again to the sources. [`log`] writes lines without waiting for their reader, and [`throttle`]
//!   spares it what it had. [`secret_file`] and [`core_dumps`] look after what must not be read by
//!   others.
//!
//! What the demo and the tests run against is no part of the product: `crates/sim` holds simulated
//! neighbours, knows nothing of the rooms here, and is in no binary without the feature `demo`.
//! `crates/envoy-api` holds Envoy's types, generated.
//!
//! # The walls
//!
//! The core knows no network and no clock; the sources know no Envoy; `server` knows no xDS; `xds`
//! knows no Marathon. Which room may use which is a table in `tests/it/tidy/walls.rs`, and a test.

pub mod marathon;

pub mod vault;

pub mod files;

pub mod state;

pub mod labels;

pub mod intent;

pub mod resources;

pub mod snapshot;

pub mod server;

pub mod registry;

pub mod xds;

pub mod v2;

pub mod pipeline;

pub mod freshness;

pub mod daemon;

pub mod settings;

pub mod admin;

pub mod identity;

pub mod reload;

pub mod metrics;

pub mod backoff;

pub mod throttle;

pub mod log;

pub mod secret_file;

pub mod core_dumps;

pub mod clock;

pub mod commands;
