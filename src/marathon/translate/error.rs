//! The errors of translation.

/// Reason for which a frame or an answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TranslateError {
    /// It is not the JSON that Marathon writes.
    #[error("cannot read the JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Apps without their tasks: what they say of apps may be true, and would empty them.
    #[error(
        "the key \"tasks\" is missing: see that the query {embed} reaches Marathon and that its \
         answers come whole, past every proxy and cache on the way"
    )]
    NoTasks {
        /// The query parameter by which Marathon adds it.
        embed: &'static str,
    },
    /// A list of apps of which none can be read.
    #[error("none of the {entries} apps can be read; of the first one, {first}")]
    NoApp {
        /// Number of entries.
        entries: usize,
        /// The fault of the first one.
        first: Box<TranslateError>,
    },
    /// A 404 that is not Marathon's.
    #[error(
        "the 404 is not one of Marathon ({body:?}): see that every proxy on the way has a route for \
         this path"
    )]
    NotMarathons {
        /// The beginning of the body.
        body: String,
    },
    /// It is about nothing that has a name.
    #[error("the {0} is missing")]
    Missing(&'static str),
    /// It has a value that is unknown here.
    #[error("the {what} {value:?} is unknown")]
    Unknown {
        /// The field whose value it is.
        what: &'static str,
        /// The value.
        value: String,
    },
}

impl TranslateError {
    /// The class, a value of the metric label `reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::NoTasks { .. } => "no_tasks",
            Self::NoApp { .. } => "no_app",
            Self::NotMarathons { .. } => "not_marathons",
            Self::Missing(_) => "missing",
            Self::Unknown { .. } => "unknown",
        }
    }
}
