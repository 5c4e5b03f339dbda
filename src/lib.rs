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
//! - [`marathon`] subscribes to Marathon: it follows the event stream, lists everything, and fetches
//!   single apps; [`vault`] logs in, renews its token and reads certificates; [`files`] reads
//!   certificates from a folder. These sources turn what they receive into facts,
//!   [`Event`](state::event::Event)s, and know nothing of their use. [`net`] is what they share: the
//!   HTTPS client with its roots, client certificate and limits, watched files, back-off, the
//!   throttle of log lines, requests to reload, the wall clock, and the
//!   [`Identity`](net::identity::Identity) of this daemon towards its proxies: the sources provide
//!   it, [`server`] presents it.
//! - [`state`] reduces facts to the current state. [`labels`] is Marathon's dialect: a table of
//!   labels, read into [`intent`], which holds in neutral nouns (services, routes, backends) what
//!   each port asks for and knows no label. [`resources`] writes intents as Envoy's resources. All
//!   four are pure: no IO, no clock, no failure. An app that cannot be served becomes a
//!   [`Problem`](state::problem::Problem) and affects no other.
//! - [`snapshot`] holds the resources of one moment, immutable and encoded once, and the cell where
//!   they are swapped as a whole. Versions are digests of content, so replicas agree and a restart
//!   changes nothing. It tracks how many readers of a publication have yet to read it.
//! - [`server`] turns sockets into connections: the listener, TLS with the identity from Vault or
//!   files (swapped at each renewal), the allow list of peers, budgets of buffered bytes, and the
//!   shutdown. It routes requests by path to the registered services, and knows nothing of their
//!   answers.
//! - [`xds`] is one of these services: it answers proxies from the current snapshot. One pure
//!   engine, `xds::delivery`, knows what each client has, is owed and has rejected, and in which
//!   order resources are sent. A client is the index of the snapshot that it accepted, and the
//!   exceptions from it, so an idle one costs nothing and a change costs what changed. `xds::rest`
//!   holds polls until the engine has an answer, `xds::grpc` sends its answers over streams.
//! - [`registry`] lists the proxies, one entry for each, whatever transport serves it: identity,
//!   progress and age, and for an hour those that are gone. Transports open sessions in it.
//! - [`v2`] is Envoy's old API, self-contained: it writes resources of its own at each publication
//!   and answers polls as a service of [`server`]. Removing its folder and the places that name it
//!   (the daemon, a setting, a bootstrap) removes the API.
//! - [`authz`] answers proxies that ask whether a request has the login of its service, as a service
//!   of [`server`]. It observes the logins of each publication, and hashes passwords on threads of
//!   their own.
//! - [`changes`] notes what changed of which app, and by which event of Marathon, behind each
//!   publication: the latest changes, for operators.
//! - [`record`] keeps the last known good configuration on disk: it writes what [`pipeline`] applied,
//!   and hands it back at a start, where the pipeline serves it until Marathon has listed its apps.
//! - [`freshness`] decides when the served snapshot counts as stale, after a long silence of the
//!   source. Health checks, which [`xds`] answers over gRPC, fail then, and [`server`] hands open
//!   connections over to other replicas, once.
//! - [`pipeline`] is the one loop between them: receive, drain, reduce, project, publish. Changes
//!   that arrive during the fan-out of a publication are merged into the next one. [`daemon`] wires
//!   everything and decides nothing; the command assigns runtimes to rooms. [`settings`] are read
//!   and checked once, before any port opens. [`admin`] and [`metrics`] inform operators.
//!   [`commands`] are those of the binary.
//! - Around them: [`received`] stamps facts for latency metrics. [`parallel`] shares the work of a
//!   first list among the cores, and [`packing`] keeps what came of it small. [`log`] writes lines
//!   without blocking. [`core_dumps`] keeps secrets out of files that others read.
//!
//! What the demo and the tests run against is no part of the product: `crates/sim` holds simulated
//! neighbours and the scenario that is played on them. It knows the daemon by its addresses alone
//! (starting it is a trait, `ControlPlane`) and is in no binary without the feature `demo`.
//! `crates/envoy-api` holds Envoy's types, generated.
//!
//! # Glossary
//!
//! Each word has one meaning in code, log, metrics and manual.
//!
//! | word | meaning |
//! |---|---|
//! | app, task | [An app](state::app::App) and [a task](state::app::Task) as in Marathon: a definition, and one running instance of it. |
//! | port | One service port of an app, by its index in the definition. Labels, intents and clusters belong to ports. |
//! | fact | A statement of a source in the past tense: an [`Event`](state::event::Event) of the reducer. |
//! | intent | What [one port asks for](intent::Service) (hosts, paths, redirects, addresses), in neither Marathon's nor Envoy's words. |
//! | problem | A part left out of the configuration, with subject, label, reason, message and remedy: [`Problem`](state::problem::Problem). |
//! | remedy | What an operator can do about a problem or an error. |
//! | origin | The text that says [what a resource was made from](snapshot::Origin), for messages; nothing interprets it. |
//! | resource, kind | One of Envoy's resources, and [its kind](snapshot::Kind): cluster, endpoint, listener, route table (whole, or without its virtual hosts), virtual host, secret. |
//! | flavour | A transport whose [bytes of a resource](snapshot::Flavour) differ from others', because config sources name the transport. |
//! | snapshot | [All resources of one moment](snapshot::Snapshot), immutable. |
//! | publication | The swap of the current snapshot by its [`Publisher`](snapshot::cell::Publisher), and its fan-out to readers. |
//! | peer | [The sender of requests over a connection](server::Peer): a certificate's name, else an address. Budgets count by peer. |
//! | node | What a proxy states about itself in `node`: an id and a cluster, which nothing proves. |
//! | proxy | An Envoy, or another program that speaks xDS, as [the registry](registry) lists it: node id, address and transport. |
//! | client | A proxy as the delivery engine sees it: the resources that it has, and the subscriptions that it holds. |
//! | subscription | The names that a client requests of one kind, or all of them (a wildcard). |
//! | rejection | A client's NACK of a resource; also a peer that is not admitted, [`PeerRejection`](server::PeerRejection). |
//! | refusal | A request that is answered with an error. |
//! | gate | The wait of a resource until a client has accepted the resources that it requires. |
//! | budget | [Limits of buffered bytes](server::BudgetLimits) and of cancelled requests, of a connection, a peer and all. |
//! | record | [The last known good configuration](record) on disk. |
//! | departed | A resource that left the snapshot and that clients may still have: [clusters](pipeline::DepartedClusters), for ten minutes. |
//! | identity | [Certificate, key and client CA](net::identity::Identity) of the xDS port. |
//! | freshness | [Time since the source's last sign of life](freshness::SourceAge); beyond a limit the snapshot is stale. |
//! | handover | The [end of all open connections](server::Handover), so that proxies choose a fresher replica. |
//!
//! # Twelve rules and where they stand
//!
//! Each row leads to the item that decides the rule. Where that is private to a room, the
//! documentation of the room and of the module in it link the next step.
//!
//! | rule | decided by |
//! |---|---|
//! | Which tasks count as healthy | [`state::health::tasks_with_eligibility`]: their condition, and Marathon's health and readiness checks |
//! | What a VHOST may contain | [`intent::host::normalised`]: the form of a host |
//! | How long a poll is held | [`xds`], `rest`, `longest_hold`: a limit, within the proxy's timeout |
//! | When a removed cluster may be dropped | [`xds`], `delivery`, `Siblings::uses`: once no listener or route of the client needs it |
//! | Who wins a host | [`intent::conflicts::settle_host`]: the order of claims |
//! | When the first snapshot is published | [`Pipeline::ready`](pipeline::Pipeline::ready): apps, certificates and agents' names are known |
//! | When a record is served | [`pipeline`], `restored`, `RecordUse`: Marathon stays silent, or does not list its apps in time |
//! | What is recorded | [`record`], `translate`: facts, field by field |
//! | What is retried | [`resources`], `retries`, `policy`: requests that no task can have begun to answer |
//! | How a version is computed | [`snapshot::Version::of_parts`]: a digest of content |
//! | Who may read secrets | [`server::Security::allows_secrets`]: by the security of the listener |
//! | What happens on a refusal | [`xds`], `delivery`, `Subscription::reject`: withhold the resource, send the others, offer it again |
//! | How endpoints are ordered | [`intent::addresses`](fn@intent::addresses): by rank, then by address, each once |
//! | When the loss guard is on | [`State::holds_back`](state::State::holds_back): when an answer lacks too large a share |
//!
//! # The walls
//!
//! The core knows no network and no clock; the sources know no Envoy; `server` knows no xDS; `xds`
//! knows no Marathon. A table in `tests/it/tidy/walls.rs` says which room may use which, and a test
//! holds it.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the map leads into rooms; their documentation is built with private items"
)]

pub mod marathon;

pub mod vault;

pub mod files;

pub mod net;

pub mod state;

pub mod labels;

pub mod intent;

pub mod resources;

pub mod snapshot;

pub mod server;

pub mod registry;

pub mod xds;

pub mod v2;

pub mod authz;

pub mod pipeline;

pub mod changes;

pub mod record;

pub mod freshness;

pub mod daemon;

pub mod settings;

pub mod admin;

pub mod metrics;

pub mod received;

pub mod packing;

pub mod parallel;

pub mod log;

pub mod core_dumps;

pub mod commands;
