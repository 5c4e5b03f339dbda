//! Parsers of typed values. Each error says what is wrong with the value and what to write instead.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{OsStringValueParser, StringValueParser, TypedValueParser};

use crate::intent::IpNetwork;
use crate::vault::Secret;

/// Parser of a duration within bounds, from seconds as a decimal number.
pub(super) fn seconds(bounds: RangeInclusive<f64>) -> impl TypedValueParser<Value = Duration> {
    move |text: &str| {
        within(text.trim().parse().ok(), &bounds).ok_or_else(|| {
            let (least, most) = (bounds.start(), bounds.end());
            format!(
                "not a number of seconds from {least} to {most}; write a decimal number without a \
                 unit, as 300 or 0.5"
            )
        })
    }
}

/// Parser of a duration within bounds in seconds, as Vault's clients write it: seconds, or a number
/// with a unit.
pub(super) fn span(bounds: RangeInclusive<f64>) -> impl TypedValueParser<Value = Duration> {
    const UNITS: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    move |text: &str| {
        let text = text.trim();
        let mut units = UNITS.iter();
        let named =
            units.find_map(|(unit, in_seconds)| Some((text.strip_suffix(unit)?, in_seconds)));
        let (number, in_seconds) = named.unwrap_or((text, &1.0));
        let number: Option<f64> = number.trim().parse().ok();
        within(number.map(|number| number * in_seconds), &bounds).ok_or_else(|| {
            let (least, most) = (bounds.start(), bounds.end());
            format!(
                "not a time from {least} to {most} seconds; write seconds, or a number with s, m \
                 or h behind it"
            )
        })
    }
}

/// The duration of so many seconds, if they are within the bounds. They never hold a NaN, nor what
/// a point in time cannot be moved by.
fn within(seconds: Option<f64>, bounds: &RangeInclusive<f64>) -> Option<Duration> {
    let seconds = seconds.filter(|seconds| bounds.contains(seconds))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Parses a switch, in any spelling that Vault's own client takes.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" | "t" | "true" | "on" | "1" => Ok(true),
        "n" | "no" | "f" | "false" | "off" | "0" => Ok(false),
        _ => Err("not a switch; write true or false".to_owned()),
    }
}

/// Parser of a share of a whole within bounds.
pub(super) fn share(bounds: RangeInclusive<f64>) -> impl TypedValueParser<Value = f64> {
    move |text: &str| {
        let share = text.trim().parse().ok();
        share.filter(|share| bounds.contains(share)).ok_or_else(|| {
            let (least, most) = (bounds.start(), bounds.end());
            format!("not a share from {least} to {most}; write a decimal number, as 0.667")
        })
    }
}

/// Parses a socket address.
pub(crate) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let wrong = |_| "not an address and a port; write ip:port, as 127.0.0.1:5001".to_owned();
    text.trim().parse().map_err(wrong)
}

/// Parses an IP address.
pub(super) fn ip_address(text: &str) -> Result<IpAddr, String> {
    let wrong = |_| "not an IP address; write one, as 10.0.0.1 or 2001:db8::7".to_owned();
    text.trim().parse().map_err(wrong)
}

/// Parses a network.
pub(super) fn network(text: &str) -> Result<IpNetwork, String> {
    let wrong = || "not a network; write an address and the bits of its network, as 10.2.0.0/16";
    IpNetwork::parse(text.trim()).ok_or_else(|| wrong().to_owned())
}

/// Parser of a whole number within bounds.
pub(super) fn number<T>(bounds: RangeInclusive<T>) -> impl TypedValueParser<Value = T>
where
    T: Copy + Display + FromStr + PartialOrd + Send + Sync + 'static,
{
    move |text: &str| {
        let (least, most) = (*bounds.start(), *bounds.end());
        let number = text
            .trim()
            .parse()
            .ok()
            .filter(|number| bounds.contains(number));
        number.ok_or_else(|| {
            format!(
                "not a whole number from {least} to {most}; write one without a unit or separators"
            )
        })
    }
}

/// Parser of a secret, which prints as dots.
pub(super) fn secret() -> impl TypedValueParser<Value = Secret> {
    StringValueParser::new().map(Secret::from)
}

/// Parser of a path, which may be empty: an empty one counts as unset.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}
