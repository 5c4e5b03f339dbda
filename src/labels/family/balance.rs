//! Labels for the choice of a task for each request.

use crate::intent::{Balance, HashedPart};
use crate::labels::draft::{LabelText, ServiceDraft};
use crate::labels::label::{Family, Label, Support, ValueKind};
use crate::state::problem::quoted;

pub(crate) const FAMILY: Family = Family {
    title: "Balancing",
    labels: &[
        Label::of_port(
            "BALANCE",
            ValueKind::Text,
            Support::in_part(
                read_balance,
                "`first`, `rdp-cookie` and the arguments of `uri` other than `len` and `whole` have \
                 no equivalent",
            ),
            "HAProxy's balancing algorithm, with its arguments",
        ),
        Label::of_port(
            "STICKY",
            ValueKind::Bool,
            Support::served(read_sticky),
            "`true` sends a client to the same task each time, by the cookie `mesosphere_server_id`",
        ),
        Label::of_port(
            "BACKEND_HEALTHCHECK_PORT_INDEX",
            ValueKind::Number,
            Support::in_part(
                read_check_place,
                "with `ACTIVE_HEALTH_CHECKS`, tasks are checked on that port; a port without a health \
                 check of its own has its check in any case, and that check's mode",
            ),
            "place of the port on which tasks are checked among the app's ports, in the order of \
             their service ports",
        ),
    ],
};

/// marathon-lb's name for the cookie.
const COOKIE: &str = "mesosphere_server_id";

const ALGORITHMS: &str = "write roundrobin, static-rr, leastconn, random, source, uri, url_param NAME \
                          or hdr(NAME)";

/// The longest part of a path that a hash may be limited to: patterns repeat no more.
const MOST_PATH_BYTES: u16 = 1_000;

pub(in crate::labels) fn read_balance(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    match balance(label.value) {
        Ok(balance) => draft.backend.balance = balance,
        Err(message) => draft.reject(
            label,
            format!("{message}, so requests are balanced round robin"),
            ALGORITHMS,
        ),
    }
}

/// Reads the arguments of a [`balance`
/// line](https://docs.haproxy.org/2.6/configuration.html#4-balance). The error says what is wrong
/// with them.
fn balance(value: &str) -> Result<Balance, String> {
    let mut words = value.split_whitespace();
    let Some(algorithm) = words.next() else {
        return Ok(Balance::RoundRobin);
    };
    let arguments: Vec<&str> = words.collect();
    let algorithm = algorithm.to_ascii_lowercase();
    let (name, argument) = match algorithm.split_once('(') {
        None => (algorithm.as_str(), None),
        Some((name, rest)) => (name, rest.strip_suffix(')')),
    };
    match (name, argument, arguments.as_slice()) {
        ("roundrobin" | "static-rr", None, []) => Ok(Balance::RoundRobin),
        ("leastconn", None, []) => Ok(Balance::LeastLoaded),
        ("random", _, []) => Ok(Balance::Random),
        ("source", None, []) => Ok(Balance::Hash(HashedPart::ClientAddress)),
        ("uri", None, arguments) => hashed_path(arguments),
        // It looks into the body of a POST request as well.
        ("url_param", None, [name] | [name, "check_post"]) if is_parameter(name) => {
            Ok(Balance::Hash(HashedPart::QueryParameter((*name).into())))
        }
        ("hdr", Some(name), []) if is_header_name(name) => {
            Ok(Balance::Hash(HashedPart::Header(name.into())))
        }
        ("first" | "rdp-cookie", _, _) => Err(format!("there is no equivalent of {name}")),
        _ => Err(format!("{} is no balancing algorithm", quoted(value))),
    }
}

fn hashed_path(arguments: &[&str]) -> Result<Balance, String> {
    let part = match arguments {
        [] => HashedPart::Path { bytes: None },
        ["whole"] => HashedPart::PathAndQuery,
        ["len", number] => match number.parse() {
            Ok(number @ 1..=MOST_PATH_BYTES) => HashedPart::Path {
                bytes: Some(number),
            },
            Ok(_) | Err(_) => {
                return Err(format!(
                    "the length {} is none from 1 to {MOST_PATH_BYTES}",
                    quoted(number)
                ));
            }
        },
        [first, ..] => {
            return Err(format!(
                "there is no equivalent of the argument {} of uri",
                quoted(first)
            ));
        }
    };
    Ok(Balance::Hash(part))
}

/// True for text that may be the name of a header.
fn is_header_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

/// True for text that may be the name of a parameter.
fn is_parameter(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"&=#?".contains(&byte))
}

fn read_check_place(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    match label.value.trim().parse() {
        Ok(place) => draft.check_place = Some(label.asks_for(place)),
        Err(_) => draft.reject(
            label,
            format!(
                "{} is not a number, so tasks are checked on their own port",
                quoted(label.value)
            ),
            "count the app's ports from 0, in the order of their service ports",
        ),
    }
}

fn read_sticky(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    if label.is_true() {
        draft.treatment().session_cookie = Some(COOKIE.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_are_read_with_their_arguments() {
        let hash = |part| Ok(Balance::Hash(part));
        let path = |bytes| hash(HashedPart::Path { bytes });
        for (value, expected) in [
            ("", Ok(Balance::RoundRobin)),
            ("roundrobin", Ok(Balance::RoundRobin)),
            (" static-rr ", Ok(Balance::RoundRobin)),
            ("leastconn", Ok(Balance::LeastLoaded)),
            ("LeastConn", Ok(Balance::LeastLoaded)),
            ("random", Ok(Balance::Random)),
            ("random(4)", Ok(Balance::Random)),
            ("source", hash(HashedPart::ClientAddress)),
            ("uri", path(None)),
            ("uri len 12", path(Some(12))),
            ("uri whole", hash(HashedPart::PathAndQuery)),
            (
                "url_param userid",
                hash(HashedPart::QueryParameter("userid".into())),
            ),
            (
                "url_param Id check_post",
                hash(HashedPart::QueryParameter("Id".into())),
            ),
            (
                "hdr(User-Agent)",
                hash(HashedPart::Header("user-agent".into())),
            ),
        ] {
            assert_eq!(balance(value), expected, "{value}");
        }
    }

    #[test]
    fn what_has_no_equivalent_or_makes_no_sense_is_said() {
        for (value, message) in [
            ("first", "no equivalent of first"),
            ("rdp-cookie", "no equivalent of rdp-cookie"),
            ("rdp-cookie(mstshash)", "no equivalent of rdp-cookie"),
            ("uri depth 3", "argument \"depth\" of uri"),
            ("uri len 0", "length \"0\""),
            ("uri len 1001", "length \"1001\""),
            ("round-robin", "\"round-robin\" is no"),
            ("leastconn x", "\"leastconn x\" is no"),
            ("url_param", "\"url_param\" is no"),
            ("url_param a=b", "is no"),
            ("hdr()", "is no"),
            ("hdr(a b)", "is no"),
            ("hdr(a\u{e9})", "is no"),
            ("hdr(name", "is no"),
            ("source\n  option x", "is no"),
        ] {
            let why = balance(value).unwrap_err();
            assert!(why.contains(message), "{value}: {why}");
        }
    }
}
