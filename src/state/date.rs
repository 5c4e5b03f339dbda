//! Dates in messages.

use time::OffsetDateTime;

/// A time in seconds since 1970 as a date and time of day.
pub(super) fn date(seconds: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(date) => format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
            date.year(),
            u8::from(date.month()),
            date.day(),
            date.hour(),
            date.minute(),
            date.second()
        ),
        Err(_) => format!("{seconds} s since 1970"),
    }
}
