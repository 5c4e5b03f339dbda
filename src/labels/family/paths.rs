//! Labels for paths: the ones that are served, and their rewriting.

use crate::intent::path::Unmatchable;
use crate::intent::{LocationRewrite, PathPrefix, Pattern, UnusablePattern};
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
            Support::served(read_path_cut),
            "beginning of the path that is cut off, in either case, a regular expression; the `Host` \
             becomes the one of `VHOST`, if that is one name",
        ),
        Label::of_port(
            "HTTP_BACKEND_REVPROXY_PATH",
            ValueKind::Text,
            Support::in_part(
                read_location,
                "a value with references such as `\\\\3` is ignored",
            ),
            "text that replaces a `Location` header that leads to a path of the app's hosts",
        ),
        Label::of_port(
            "HTTP_BACKEND_REDIR",
            ValueKind::Text,
            Support::served(read_root_redirect),
            "location to which requests for `/` are redirected, with 301",
        ),
    ],
};

/// Place of a service with paths: a path goes before the rest of its host (marathon-lb's rule).
const WEIGHT_WITH_PATH: i64 = 1;

fn read_paths(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    if label.value.trim().is_empty() || !draft.has_hosts(label) {
        return;
    }
    draft.has_path_label = true;
    // A `#` begins a comment, as in HAProxy, and a blank behind `\\` is a part of the path.
    let escapes = label.value.contains("\\ ");
    if escapes {
        draft.reject(
            label,
            "a blank behind \\ is a part of a path, which no path has, so the port gets no requests"
                .into(),
            "write spaces between paths; a blank in one as %20",
        );
    }
    let words = || {
        let words = label.value.split_whitespace();
        words.take_while(|word| !word.starts_with('#') && !escapes)
    };
    let ignore_case = words().any(|word| word == "-i");
    let words = words().filter(|word| *word != "-i");
    let paths = match draft.path_patterns {
        Some(how) => patterns(label, words, how.ignore_case || ignore_case, draft),
        None => prefixes(label, words, ignore_case, draft),
    };
    match paths {
        Some(paths) => draft.route.paths = Some(Box::new(label.asks_for(paths))),
        // Without its paths the port would take the whole host, which nobody asked for.
        None => draft.drop_requests(),
    }
    // A negative place stays; 0 is the place without the label too.
    if draft.route.weight == 0 {
        draft.route.weight = WEIGHT_WITH_PATH;
    }
}

/// The patterns in the order of the label; none when nothing usable remains.
pub(in crate::labels) fn patterns<'a>(
    label: LabelText<'_>,
    words: impl Iterator<Item = &'a str>,
    ignore_case: bool,
    draft: &mut ServiceDraft<'_>,
) -> Option<Vec<PathPrefix>> {
    let mut paths: Vec<PathPrefix> = Vec::new();
    for word in words {
        match Pattern::search(word) {
            Ok(pattern) => paths.push(PathPrefix {
                prefix: pattern.to_string(),
                is_pattern: true,
                ignore_case,
            }),
            Err(why) => draft.reject(
                label,
                format!("the path {} is left out: {why}", quoted(word)),
                "write a short regular expression without references and names",
            ),
        }
    }
    (!paths.is_empty()).then_some(paths)
}

/// The prefixes in the order of the label; none when nothing usable remains.
pub(in crate::labels) fn prefixes<'a>(
    label: LabelText<'_>,
    words: impl Iterator<Item = &'a str>,
    ignore_case: bool,
    draft: &mut ServiceDraft<'_>,
) -> Option<Vec<PathPrefix>> {
    let mut paths: Vec<PathPrefix> = Vec::new();
    for word in words {
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
        if word.contains(",/") || word.ends_with(',') {
            draft.reject(
                label,
                format!("{} is one path: a comma does not end it", quoted(word)),
                "write spaces between paths; a comma in one as %2C",
            );
        }
        let path = PathPrefix {
            prefix: if ignore_case {
                word.to_ascii_lowercase()
            } else {
                word.to_owned()
            },
            is_pattern: false,
            ignore_case,
        };
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    (!paths.is_empty()).then_some(paths)
}

fn read_path_cut(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    let text = label.value.trim();
    if text.is_empty() {
        return;
    }
    let pattern = Pattern::parse(text).or_else(|why| {
        if why == UnusablePattern::Syntax {
            draft.reject(
                label,
                format!("{} is taken as plain text: {why}", quoted(text)),
                "write a regular expression without assertions, references and names",
            );
        }
        Pattern::literal(text)
    });
    match pattern {
        Ok(pattern) => draft.treatment().path_cut = Some(pattern),
        Err(why) => {
            draft.reject(
                label,
                format!(
                    "paths stay as they are: {} cannot be cut off, {why}",
                    quoted(text)
                ),
                "shorten it",
            );
            return;
        }
    }
    let hosts = draft.route.hosts.as_ref().map(|hosts| &hosts.value);
    if let Some([host]) = hosts.map(Vec::as_slice)
        && !host.starts_with('*')
    {
        draft.treatment().host = Some(host.to_string());
    }
}

/// The longest text of a `Location` header: as long as browsers take it. Proxies refuse 16 KiB, which
/// hold the hosts of the app as well.
const LONGEST_LOCATION_BYTES: usize = 2_048;

const SHORTER: &str = "shorten it";

/// The fault of a location that is longer than it may be, with the outcome.
fn too_long(outcome: &str) -> String {
    format!("the location is longer than {LONGEST_LOCATION_BYTES} bytes, {outcome}")
}

fn read_root_redirect(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    let location = label.value.trim();
    if location.is_empty() {
        return;
    }
    if location.len() > LONGEST_LOCATION_BYTES {
        draft.reject(label, too_long("so requests for / go to the app"), SHORTER);
    } else if location.bytes().all(|byte| byte.is_ascii_graphic()) {
        draft.treatment().root_redirect = Some(location.to_owned());
    } else {
        draft.reject(
            label,
            format!(
                "{} is no location, so requests for / go to the app",
                quoted(location)
            ),
            "write a path as in /start, and other characters as %XX",
        );
    }
}

/// Most hosts of which `Location` headers are rewritten: all stand in one expression.
const MAX_LOCATION_HOSTS: usize = 20;

fn read_location(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    let value = label.value.trim();
    if value.is_empty() {
        return;
    }
    let is_plain = |c: char| c.is_ascii_graphic() && !"'\"()\\%".contains(c);
    let hosts = draft.route.hosts.as_ref();
    let hosts = hosts.map_or_else(Vec::new, |hosts| hosts.value.clone());
    if value.len() > LONGEST_LOCATION_BYTES {
        draft.reject(
            label,
            too_long("so Location headers stay as they are"),
            SHORTER,
        );
    } else if !value.chars().all(is_plain) {
        draft.reject(
            label,
            format!(
                "Location headers stay as they are: {} is no plain text",
                quoted(value)
            ),
            "write a path or an URL without references, quotes, parentheses and percent signs",
        );
    } else if hosts.len() > MAX_LOCATION_HOSTS {
        draft.reject(
            label,
            format!(
                "Location headers stay as they are: the port has more than {MAX_LOCATION_HOSTS} \
                 hosts"
            ),
            "give the port fewer hosts, or let the app write the header",
        );
    } else {
        draft.treatment().location = Some(LocationRewrite {
            hosts,
            value: value.to_owned(),
        });
    }
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
