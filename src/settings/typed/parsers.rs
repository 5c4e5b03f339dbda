//! Parsers of typed values. Each error says what is wrong with the value and what to write instead.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{OsStringValueParser, StringValueParser, TypedValueParser};

use crate::vault::Secret;

/// Parses a duration from seconds as a decimal number.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || {
        "not a number of seconds from 0 up; write a decimal number without a unit, as 300 or 0.5"
            .to_owned()
    };
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

/// Parses a duration of at least one second.
pub(super) fn a_second_or_more(text: &str) -> Result<Duration, String> {
    let time = seconds(text)?;
    if time < Duration::from_secs(1) {
        return Err("less than a second cuts everybody; give it at least 1".to_owned());
    }
    Ok(time)
}

/// Parses a duration as Vault's clients do: seconds, or a number with a unit.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    let named = units
        .iter()
        .find_map(|(unit, in_seconds)| Some((text.strip_suffix(unit)?, in_seconds)));
    let (number, in_seconds) = named.unwrap_or((text, &1.0));
    let wrong = || "not a time; write seconds, or a number with s, m or h behind it".to_owned();
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * in_seconds).map_err(|_| wrong())
}

/// Parses a switch, in any spelling that Vault's own client takes.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "t" | "true" | "on" | "1" => Ok(true),
        "n" | "no" | "f" | "false" | "off" | "0" => Ok(false),
        _ => Err("not a switch; write true or false".to_owned()),
    }
}

/// Parses a share of a whole. Its bounds are checked with the other settings.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let wrong = |_| "not a share; write a decimal number, as 0.667".to_owned();
    text.parse().map_err(wrong)
}

/// Parses a socket address.
pub(crate) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let wrong = |_| "not an address and a port; write ip:port, as 127.0.0.1:5001".to_owned();
    text.parse().map_err(wrong)
}

/// Parses an IP address.
pub(super) fn ip_address(text: &str) -> Result<IpAddr, String> {
    let wrong = |_| "not an IP address; write one, as 10.0.0.1 or 2001:db8::7".to_owned();
    text.parse().map_err(wrong)
}

/// Parser of a whole number within bounds.
pub(super) fn number<T>(bounds: RangeInclusive<T>) -> impl TypedValueParser<Value = T>
where
    T: Copy + Display + FromStr + PartialOrd + Send + Sync + 'static,
{
    move |text: &str| {
        let (least, most) = (*bounds.start(), *bounds.end());
        let number = text.parse().ok().filter(|number| bounds.contains(number));
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
