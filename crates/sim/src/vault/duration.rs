//! Durations as Vault takes them and writes them.

use std::time::Duration;

use super::config::Profile;

/// Reads seconds as a number, or a duration as Go writes it: `90`, `1h30m`, `1.5s`. Current releases
/// also know days.
///
/// # Errors
/// The text that Vault gives.
pub(super) fn parse(text: &str, profile: Profile) -> Result<Duration, String> {
    let days = match (profile, text.strip_suffix('d')) {
        (Profile::Modern, Some(days)) => days.parse::<u64>().ok(),
        (Profile::Modern, None) | (Profile::V1_8, _) => None,
    };
    if let Some(days) = days {
        return Ok(Duration::from_secs(days.saturating_mul(86_400)));
    }
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    // What Vault does not take for a duration it reads as a number, whose error is the one told.
    go(text).ok_or_else(|| format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"))
}

fn go(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|sign: char| !sign.is_ascii_digit() && sign != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after
            .find(|sign: char| sign.is_ascii_digit() || sign == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at_checked(letters)?;
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            "us" => 0.000_001,
            "ns" => 0.000_000_001,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = next;
    }
    (!text.is_empty()).then_some(total)
}

/// As Vault's warnings write it: `1h`, `1m30s`.
pub(super) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 3600, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];
    let text: String = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// As Go prints it: `0s`, `1h0m0s`.
pub(super) fn printed(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_go_durations_are_read() {
        for (text, millis) in [
            ("60", 60_000),
            ("60s", 60_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1500),
            ("250ms", 250),
            ("0", 0),
        ] {
            let read = parse(text, Profile::V1_8);
            assert_eq!(read, Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "h", "5x", "-1s", "1d2"] {
            assert!(parse(text, Profile::Modern).is_err(), "{text}");
        }
    }

    #[test]
    fn a_day_is_a_duration_for_current_releases_only() {
        assert_eq!(
            parse("1d", Profile::Modern),
            Ok(Duration::from_secs(86_400))
        );
        assert_eq!(
            parse("1d", Profile::V1_8),
            Err("strconv.ParseInt: parsing \"1d\": invalid syntax".to_owned())
        );
    }

    #[test]
    fn a_duration_is_spoken_without_zeros_and_printed_with_them() {
        for (seconds, spoken_as, printed_as) in [
            (3600, "1h", "1h0m0s"),
            (60, "1m", "1m0s"),
            (15, "15s", "15s"),
            (3690, "1h1m30s", "1h1m30s"),
            (0, "0s", "0s"),
        ] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(spoken(duration), spoken_as);
            assert_eq!(printed(duration), printed_as);
        }
    }
}
