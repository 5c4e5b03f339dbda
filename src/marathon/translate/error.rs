//! The errors of translation.

/// Reason for which a frame or an answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TranslateError {
    /// It is not the JSON that Marathon writes.
    #[error("cannot read the JSON: {0}")]
    Json(JsonFault),
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

/// Fault of JSON, and its position.
#[derive(Debug, thiserror::Error)]
#[error("{fault} at line {line} column {column}")]
pub struct JsonFault {
    fault: String,
    /// From 1.
    line: usize,
    /// Number of bytes of the line up to the fault.
    column: usize,
}

/// Position between two bytes of JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct JsonPosition {
    /// Number of line feeds before it.
    lines: usize,
    /// Number of bytes between the last of these and it.
    column: usize,
}

impl JsonFault {
    /// A fault that the next byte shows.
    pub(super) fn of_next_byte(fault: impl Into<String>) -> Self {
        Self {
            column: 1,
            ..Self::of_end(fault)
        }
    }

    /// A fault that the end shows.
    pub(super) fn of_end(fault: impl Into<String>) -> Self {
        Self {
            fault: fault.into(),
            line: 1,
            column: 0,
        }
    }

    /// The same fault, of JSON that begins at this position.
    pub(super) fn behind(mut self, start: JsonPosition) -> Self {
        if self.line == 1 {
            self.column += start.column;
        }
        self.line += start.lines;
        self
    }
}

impl JsonPosition {
    /// The position behind these bytes.
    pub(super) fn behind(self, bytes: &[u8]) -> Self {
        // Few enough bytes for a sum of the smallest size, which the compiler makes fast.
        let feeds = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| u8::from(*byte == b'\n'))
                .sum::<u8>()
        };
        let lines = bytes.chunks(255).map(|some| usize::from(feeds(some))).sum();
        match lines {
            0 => Self {
                column: self.column + bytes.len(),
                ..self
            },
            _ => Self {
                lines: self.lines + lines,
                column: bytes
                    .rsplit(|byte| *byte == b'\n')
                    .next()
                    .map_or(0, <[u8]>::len),
            },
        }
    }
}

impl From<serde_json::Error> for JsonFault {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        let position = format!(" at line {line} column {column}");
        Self {
            fault: text.strip_suffix(&*position).unwrap_or(&text).to_owned(),
            line,
            column,
        }
    }
}

impl From<serde_json::Error> for TranslateError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.into())
    }
}
