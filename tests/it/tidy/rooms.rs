//! The walls as a table: what each room may use, and what it must not.

/// A room: a module at the top of `src/`, or one inside it whose walls differ.
pub(super) struct Room {
    /// Its path without `crate`.
    pub(super) name: &'static str,
    /// What it may use of ours besides itself: paths without `crate`, each with all that is below
    /// it. `*` is everything.
    pub(super) ours: &'static [&'static str],
    /// What it must not use of others.
    pub(super) bans: &'static [&'static Ban],
    /// Words that no public item is named after.
    pub(super) words: Option<&'static Words>,
}

/// Paths outside of this crate that a room must not use.
pub(super) struct Ban {
    /// The paths, each with all that is below it.
    pub(super) paths: &'static [&'static str],
    /// What is allowed below them all the same.
    pub(super) except: &'static [&'static str],
    /// What to do instead.
    pub(super) remedy: &'static str,
}

/// Words that no public item of a room is named after.
pub(super) struct Words {
    /// The words, in the singular.
    pub(super) words: &'static [&'static str],
    /// What to do instead.
    pub(super) remedy: &'static str,
}

const IO: Ban = Ban {
    paths: &[
        "hyper",
        "hyper_util",
        "std::env",
        "std::fs",
        "std::io",
        "std::net::TcpListener",
        "std::net::TcpStream",
        "std::net::ToSocketAddrs",
        "std::net::UdpSocket",
        "std::os::unix::net",
        "std::process",
        "std::thread",
        "tokio",
        "tokio_util",
    ],
    except: &[],
    remedy: "the core does no IO and cannot fail: let what is needed arrive in an event",
};

const CLOCK: Ban = Ban {
    paths: &[
        "std::time::Instant",
        "std::time::SystemTime",
        "time::OffsetDateTime::now_local",
        "time::OffsetDateTime::now_utc",
        "time::UtcDateTime::now",
        "tokio::time",
        "x509_parser::time::ASN1Time::now",
    ],
    except: &[],
    remedy: "time, where it matters, arrives as an argument or in an event",
};

const CHANCE: Ban = Ban {
    paths: &[
        "rand",
        "std::collections::HashMap",
        "std::collections::HashSet",
        "std::hash::RandomState",
    ],
    except: &[],
    remedy: "the same events give the same bytes, always: use BTreeMap or imbl::OrdMap",
};

const LOGS: Ban = Ban {
    paths: &["tracing"],
    except: &[],
    remedy: "return a Problem; the pipeline counts and logs it",
};

const JSON: Ban = Ban {
    paths: &["serde", "serde_json"],
    except: &[],
    remedy: "how somebody spells things is known where they are read: marathon/wire.rs and its like",
};

const ENVOY: Ban = Ban {
    paths: &["envoy_api", "envoy_types", "prost", "prost_types"],
    except: &[],
    remedy: "only resources knows how Envoy is told; say what is meant in a type of your own",
};

const REQUESTS: Ban = Ban {
    paths: &["http", "http_body_util", "hyper", "hyper_util", "tonic"],
    except: &[],
    remedy: "requests are made and answered in the rooms at the edge: marathon, vault, server, xds, admin",
};

const RESOURCE_TYPES: Ban = Ban {
    paths: &["envoy_api::envoy::config", "envoy_api::envoy::extensions"],
    // What a client is told of names that do not exist is an empty one of these, and a proxy
    // says who it is in a node.
    except: &[
        "envoy_api::envoy::config::core",
        "envoy_api::envoy::config::endpoint::v3::ClusterLoadAssignment",
        "envoy_api::envoy::config::route::v3::RouteConfiguration",
    ],
    remedy: "xds sends resources as they are: let resources put what matters into the Resource",
};

const MARATHONS_WORDS: Words = Words {
    words: &["app", "port", "task"],
    remedy: "xds knows only kinds, names and versions: name it after those",
};

const ENVOYS_WORDS: Words = Words {
    words: &["cluster", "listener", "route"],
    remedy: "state holds what Marathon says: name it after that, or move it to resources",
};

/// Every room, by name.
pub(super) const ROOMS: [Room; 30] = [
    Room {
        name: "admin",
        ours: &["metrics", "snapshot", "state::problem", "throttle"],
        bans: &[],
        words: None,
    },
    Room {
        name: "backoff",
        ours: &[],
        bans: &[&IO, &CLOCK, &LOGS],
        words: None,
    },
    Room {
        name: "clock",
        ours: &[],
        bans: &[&IO, &LOGS, &REQUESTS, &ENVOY],
        words: None,
    },
    Room {
        name: "commands",
        ours: &["*"],
        bans: &[],
        words: None,
    },
    Room {
        name: "core_dumps",
        ours: &[],
        bans: &[&LOGS, &REQUESTS, &ENVOY],
        words: None,
    },
    Room {
        name: "daemon",
        ours: &[
            "admin",
            "backoff",
            "clock",
            "files",
            "freshness",
            "identity",
            "intent",
            "log",
            "marathon",
            "metrics",
            "pipeline",
            "registry",
            "reload",
            "resources",
            "server",
            "settings",
            "snapshot",
            "state",
            "v2",
            "vault",
            "xds",
        ],
        bans: &[&ENVOY],
        words: None,
    },
    Room {
        name: "files",
        ours: &[
            "backoff",
            "clock",
            "identity",
            "metrics",
            "received",
            "reload",
            "secret_file",
            "state::certificate",
            "state::event",
            "state::problem",
        ],
        bans: &[&REQUESTS, &ENVOY],
        words: None,
    },
    Room {
        name: "freshness",
        // The source, the server and the services are told apart by functions that they are given.
        ours: &["metrics", "snapshot"],
        bans: &[&REQUESTS, &ENVOY, &JSON],
        words: None,
    },
    Room {
        name: "freshness::staleness",
        ours: &[],
        bans: &[&IO, &CLOCK, &CHANCE, &LOGS, &ENVOY],
        words: None,
    },
    Room {
        name: "identity",
        ours: &["state::certificate"],
        bans: &[&REQUESTS, &ENVOY],
        words: None,
    },
    Room {
        name: "intent",
        ours: &["state"],
        bans: &[&IO, &CLOCK, &CHANCE, &LOGS, &ENVOY],
        words: None,
    },
    Room {
        name: "lib",
        ours: &[],
        bans: &[],
        words: None,
    },
    Room {
        name: "log",
        ours: &["settings::LogFormat"],
        bans: &[&REQUESTS, &ENVOY],
        words: None,
    },
    Room {
        name: "main",
        ours: &["commands", "settings"],
        bans: &[&ENVOY, &REQUESTS],
        words: None,
    },
    Room {
        name: "marathon",
        ours: &[
            "backoff",
            "metrics",
            "received",
            "secret_file",
            "state::app",
            "state::event",
            "state::problem",
            "throttle",
        ],
        bans: &[&ENVOY],
        words: None,
    },
    Room {
        name: "metrics",
        ours: &[],
        bans: &[&REQUESTS, &ENVOY],
        words: None,
    },
    Room {
        name: "pipeline",
        ours: &[
            "intent",
            "metrics",
            "received",
            "resources",
            "snapshot",
            "state",
        ],
        bans: &[&REQUESTS, &ENVOY],
        words: None,
    },
    Room {
        name: "received",
        ours: &[],
        bans: &[&LOGS, &REQUESTS, &ENVOY],
        words: None,
    },
    Room {
        name: "registry",
        ours: &["metrics", "server", "snapshot::Kind", "throttle"],
        bans: &[&REQUESTS, &ENVOY],
        words: Some(&MARATHONS_WORDS),
    },
    Room {
        name: "reload",
        ours: &[],
        bans: &[&LOGS, &REQUESTS, &ENVOY],
        words: None,
    },
    Room {
        name: "resources",
        ours: &[
            "intent",
            "snapshot::Changes",
            "snapshot::Encode",
            "snapshot::Flavour",
            "snapshot::Kind",
            "snapshot::Name",
            "snapshot::Origin",
            "snapshot::Part",
            "snapshot::Resource",
            "snapshot::Snapshot",
            "snapshot::Version",
            "state",
        ],
        bans: &[&IO, &CLOCK, &CHANCE, &LOGS],
        words: None,
    },
    Room {
        name: "secret_file",
        ours: &["throttle"],
        bans: &[&REQUESTS, &ENVOY],
        words: None,
    },
    Room {
        name: "server",
        ours: &["clock", "identity", "metrics", "throttle"],
        bans: &[&ENVOY],
        words: None,
    },
    Room {
        name: "settings",
        // Only their `Config`: settings as typed become settings as meant.
        ours: &[
            "admin",
            "files",
            "freshness",
            "intent",
            "marathon",
            "pipeline",
            "registry",
            "resources",
            "server",
            "state",
            "v2",
            "vault",
            "xds",
        ],
        bans: &[&ENVOY],
        words: None,
    },
    Room {
        name: "snapshot",
        ours: &[],
        bans: &[&REQUESTS, &ENVOY, &CLOCK, &JSON],
        words: None,
    },
    Room {
        name: "state",
        ours: &[],
        bans: &[&IO, &CLOCK, &CHANCE, &LOGS, &JSON, &ENVOY],
        words: Some(&ENVOYS_WORDS),
    },
    Room {
        name: "throttle",
        ours: &[],
        bans: &[&LOGS, &REQUESTS, &ENVOY],
        words: None,
    },
    Room {
        name: "v2",
        ours: &[
            "intent",
            "metrics",
            "registry",
            "server",
            "snapshot",
            "state::app",
            "state::certificate",
            "state::problem",
        ],
        bans: &[&ENVOY],
        words: None,
    },
    Room {
        name: "vault",
        ours: &[
            "backoff",
            "identity",
            "metrics",
            "received",
            "reload",
            "secret_file",
            "state::certificate",
            "state::event",
            "state::problem",
        ],
        bans: &[&ENVOY],
        words: None,
    },
    Room {
        name: "xds",
        ours: &["metrics", "registry", "server", "snapshot", "throttle"],
        bans: &[&RESOURCE_TYPES],
        words: Some(&MARATHONS_WORDS),
    },
];
