//! A row of the label table.

use super::draft::{LabelText, ServiceDraft};
use super::haproxy_text::Syntax;

/// A label: its key, its value, its meaning, and the state of its support.
#[derive(Clone, Copy)]
pub(super) struct Label {
    /// The name behind prefix and index: `VHOST`.
    pub(super) name: &'static str,
    /// The part of the key before the name, without the index.
    pub(super) prefix: LabelPrefix,
    /// Part of the app that the label is about.
    pub(super) position: Position,
    /// Kind of value.
    pub(super) value: ValueKind,
    /// State of support.
    pub(super) support: Support,
    /// True if marathon-lb has no such label.
    pub(super) is_our_own: bool,
    /// The meaning in one sentence, for the manual.
    pub(super) meaning: &'static str,
}

/// Labels that belong together: the rows of one file.
pub(super) struct Family {
    /// Heading in the manual.
    pub(super) title: &'static str,
    pub(super) labels: &'static [Label],
}

/// Beginning of a label's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LabelPrefix {
    /// marathon-lb's, which is a setting: `HAPROXY`.
    MarathonLb,
    /// marathon-acme's: `MARATHON_ACME`.
    MarathonAcme,
    /// None: the key is the name.
    None,
}

/// Part of the app that a label is about. In the other position marathon-lb ignores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Position {
    /// The whole app: `HAPROXY_GROUP`.
    App,
    /// One port, by its index: `HAPROXY_0_VHOST`.
    Port,
}

/// Kind of value that a label has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueKind {
    /// True or false.
    Bool,
    /// A whole number.
    Number,
    /// Text.
    Text,
    /// A list of words.
    List,
    /// Text that HAProxy gets in a `bind` line.
    BindText,
    /// Lines of a section of HAProxy's configuration.
    Template,
    /// Lines of HAProxy's configuration that select the requests that go to the app.
    RoutingTemplate,
    /// Lines of HAProxy's configuration that say which servers answer.
    ServerTemplate,
    /// Options of such a line.
    ServerOptions,
}

/// State of support of a label.
#[derive(Clone, Copy)]
pub(super) enum Support {
    /// Read in full.
    Served(LabelReader),
    /// Read with a limit that the manual tells.
    InPart {
        reader: LabelReader,
        limit: &'static str,
    },
    /// Values that are recognised are read; any other is not supported, with `instead` as what the edge
    /// does without it. One in which HAProxy restricts access guards the port.
    ForIdioms {
        read: ReadPart,
        recognises: fn(&str) -> bool,
        /// The idioms, for the manual.
        idioms: &'static str,
        instead: &'static str,
    },
    /// Not supported yet, and restricts access whatever its value: it guards the port, unless this
    /// recognises marathon-lb's own text, which asks for nothing more than other labels do.
    Guard(fn(&str) -> bool),
    /// Read by nobody, by marathon-lb neither: whatever its value, it guards nothing.
    Meaningless,
}

/// Way in which a supported label is read.
#[derive(Clone, Copy)]
pub(super) enum LabelReader {
    /// Before all others, to select the ports that are served.
    Selection,
    /// With the other apps of a group, before anything else. Checks a value that stands alone; an
    /// error is what is wrong with it, and the remedy.
    Deployment(fn(&str) -> Result<(), (String, &'static str)>),
    /// Into the intent of its port, or of each port of its app.
    Part(ReadPart),
}

/// A supported label of an app.
pub(super) struct SupportedLabel<'a> {
    pub(super) label: &'static Label,
    pub(super) text: LabelText<'a>,
    pub(super) reader: LabelReader,
    /// Position of the label in the table, which is the order in which labels are read.
    pub(super) order: usize,
}

/// Reads a label into the intent of a port. The labels of a port are read in the order of the
/// table.
pub(super) type ReadPart = fn(LabelText<'_>, &mut ServiceDraft<'_>);

impl Label {
    /// A label of marathon-lb about one port: `HAPROXY_{n}_NAME`.
    pub(super) const fn of_port(
        name: &'static str,
        value: ValueKind,
        support: Support,
        meaning: &'static str,
    ) -> Self {
        Self {
            name,
            prefix: LabelPrefix::MarathonLb,
            position: Position::Port,
            value,
            support,
            is_our_own: false,
            meaning,
        }
    }

    /// A label of marathon-lb about the whole app: `HAPROXY_NAME`.
    pub(super) const fn of_app(
        name: &'static str,
        value: ValueKind,
        support: Support,
        meaning: &'static str,
    ) -> Self {
        Self {
            position: Position::App,
            ..Self::of_port(name, value, support, meaning)
        }
    }

    /// The label as one that marathon-lb does not have.
    pub(super) const fn of_our_own(self) -> Self {
        Self {
            is_our_own: true,
            ..self
        }
    }

    /// The label with another prefix than marathon-lb's.
    pub(super) const fn with_prefix(self, prefix: LabelPrefix) -> Self {
        Self { prefix, ..self }
    }

    /// The key: `HAPROXY_0_VHOST`. `index` stands in place of the port's, for labels that have one.
    pub(super) fn key(&self, label_prefix: &str, index: &str) -> String {
        let prefix = match self.prefix {
            LabelPrefix::MarathonLb => label_prefix,
            LabelPrefix::MarathonAcme => MARATHON_ACME,
            LabelPrefix::None => return self.name.to_owned(),
        };
        match self.position {
            Position::App => format!("{prefix}_{}", self.name),
            Position::Port => format!("{prefix}_{index}_{}", self.name),
        }
    }
}

/// marathon-acme's prefix; there is no setting for it.
pub(super) const MARATHON_ACME: &str = "MARATHON_ACME";

impl ValueKind {
    /// The part of HAProxy's configuration that a value of this kind becomes.
    pub(super) fn syntax(self) -> Syntax {
        match self {
            Self::Bool | Self::Number | Self::Text | Self::List | Self::Template => Syntax::Section,
            Self::BindText => Syntax::Bind,
            Self::RoutingTemplate => Syntax::Routing,
            Self::ServerTemplate => Syntax::Servers,
            Self::ServerOptions => Syntax::ServerOptions,
        }
    }
}

impl Support {
    /// Read in full by this function.
    pub(super) const fn served(read: ReadPart) -> Self {
        Self::Served(LabelReader::Part(read))
    }

    /// Read by this function, with a limit.
    pub(super) const fn in_part(read: ReadPart, limit: &'static str) -> Self {
        Self::InPart {
            reader: LabelReader::Part(read),
            limit,
        }
    }

    /// True if a value is read, of a label of which only some are.
    pub(super) fn recognises(self, value: &str) -> bool {
        match self {
            Self::ForIdioms { recognises, .. } | Self::Guard(recognises) => recognises(value),
            Self::Served(_) | Self::InPart { .. } | Self::Meaningless => false,
        }
    }

    /// The way in which the label is read; none if it is not supported.
    pub(super) fn reader(self) -> Option<LabelReader> {
        match self {
            Self::Served(reader) | Self::InPart { reader, .. } => Some(reader),
            Self::ForIdioms { read, .. } => Some(LabelReader::Part(read)),
            Self::Guard(_) | Self::Meaningless => None,
        }
    }
}
