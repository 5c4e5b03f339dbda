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
            Self::Missing(_) => "missing",
            Self::Unknown { .. } => "unknown",
        }
    }
}
