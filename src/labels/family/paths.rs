//! Labels for paths: the ones that are served, and their rewriting.

use crate::intent::PathPrefix;
use crate::intent::path::Unmatchable;
use crate::labels::draft::{LabelText, ServiceDraft};
use crate::labels::label::{Family, Label, Support, ValueKind};
use crate::state::problem::quoted;

pub(crate) const FAMILY: Family = Family {
    title: "Paths",
    labels: &[
        Label::of_port(
            "PATH",
            ValueKind::List,
            Support::in_part(
                read_paths,
                "of HAProxy's flags only `-i`, with another one the port gets no requests",
            ),
            "path prefixes, separated by spaces; `-i` among them ignores case; only with a host",
        ),
        Label::of_port(
            "HTTP_BACKEND_PROXYPASS_PATH",
            ValueKind::Text,
            Support::not_yet("requests keep their Host and path"),
            "prefix that is cut off the path; the Host becomes the one of `VHOST`",
        ),
        Label::of_port(
            "HTTP_BACKEND_REVPROXY_PATH",
            ValueKind::Text,
            Support::not_yet("Location headers of responses stay as they are"),
            "text that replaces a `Location` header that leads to the host",
        ),
        Label::of_port(
            "HTTP_BACKEND_REDIR",
            ValueKind::Text,
            Support::not_yet("requests for / go to the app"),
            "path to which requests for `/` are redirected",
        ),
    ],
};

/// Place of a service with paths: a path goes before the rest of its host (marathon-lb's rule).
const WEIGHT_WITH_PATH: i64 = 1;

fn read_paths(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    if label.value.trim().is_empty() || !draft.has_hosts(label) {
        return;
    }
    match prefixes(label, draft) {
        Some(paths) => draft.route.paths = Some(label.asks_for(paths)),
        // Without its paths the port would take the whole host, which nobody asked for.
        None => draft.drop_requests(),
    }
    draft.route.weight = WEIGHT_WITH_PATH;
}

/// The prefixes in the order of the label; none when nothing usable remains.
fn prefixes(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) -> Option<Vec<PathPrefix>> {
    let ignore_case = label.value.split_whitespace().any(|word| word == "-i");
    let mut paths: Vec<PathPrefix> = Vec::new();
    for word in label.value.split_whitespace().filter(|word| *word != "-i") {
        if word.starts_with('-') {
            draft.reject(
                label,
                format!(
                    "the flag {} is not supported, so the port gets no requests",
                    quoted(word)
                ),
                "only the flag -i (either case) is; list prefixes of the path behind it",
            );
            return None;
        }
        let odd = |c: char| !c.is_ascii_graphic() || c == '?' || c == '#';
        if !word.starts_with('/') || word.contains(odd) {
            draft.reject(
                label,
                format!(
                    "the path {} is left out: no request's path begins like that",
                    quoted(word)
                ),
                "begin it with /, leave out the query, and write other characters as %XX",
            );
            continue;
        }
        if let Err(why) = draft.config.paths.check(word) {
            draft.reject(
                label,
                format!(
                    "the path {} is left out: no request matches it, since {why}",
                    quoted(word)
                ),
                remedy(&why),
            );
            continue;
        }
        let path = PathPrefix {
            prefix: if ignore_case {
                word.to_ascii_lowercase()
            } else {
                word.to_owned()
            },
            ignore_case,
        };
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    (!paths.is_empty()).then_some(paths)
}

/// The remedy for a prefix that no request matches.
fn remedy(why: &Unmatchable) -> &'static str {
    match why {
        Unmatchable::TooLong => "shorten it",
        Unmatchable::Slashes => "write one slash, or set MERGE_SLASHES=false",
        Unmatchable::Dots => "write the path that it leads to, or set NORMALIZE_PATH=false",
        Unmatchable::Character { .. } => "write it so, or set NORMALIZE_PATH=false",
        Unmatchable::EscapedSlash { .. } => "write it without, or set ESCAPED_SLASHES=keep",
    }
}
