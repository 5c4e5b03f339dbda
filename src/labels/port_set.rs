//! A set of an app's ports, as messages list it.

use std::collections::BTreeSet;
use std::fmt;

/// A set of an app's ports.
#[derive(Debug, Default)]
pub(super) struct PortSet {
    pub(super) named: BTreeSet<usize>,
    /// Every port: a label that names no port of the app may be meant for any of them.
    pub(super) all: bool,
}

/// The most ports that one message lists.
const MAX_LISTED: usize = 10;

impl PortSet {
    /// Adds the ports of another set.
    pub(super) fn extend(&mut self, more: &Self) {
        self.named.extend(&more.named);
        self.all |= more.all;
    }
}

impl FromIterator<usize> for PortSet {
    fn from_iter<I: IntoIterator<Item = usize>>(ports: I) -> Self {
        Self {
            named: ports.into_iter().collect(),
            all: false,
        }
    }
}

impl fmt::Display for PortSet {
    /// `port 0`, `ports 0, 2`, or the first of them and how many more there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.named.len() == 1 { "" } else { "s" };
        write!(f, "port{plural}")?;
        for (position, port) in self.named.iter().take(MAX_LISTED).enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma} {port}")?;
        }
        match self.named.len().saturating_sub(MAX_LISTED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
