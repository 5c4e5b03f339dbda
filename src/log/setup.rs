//! Setup of the log: sink, format and filter.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;
use std::time::Duration;

use tracing::field::display;
use tracing::{Subscriber, error, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt, registry};

use super::LineQueue;
use super::escaped::EscapedFields;
use crate::settings::LogFormat;

/// Capacity of the queue of lines, in bytes: some ten thousand lines.
const MOST_BYTES: usize = 2 << 20;

/// Longest time that the end of the process waits for the last lines to be written.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The queue of this process: there is one log, as there is one standard error stream.
static QUEUE: OnceLock<LineQueue> = OnceLock::new();

/// Flushes the log when it is dropped, for at most a second.
#[derive(Debug)]
#[must_use]
pub struct LogGuard(());

impl Drop for LogGuard {
    fn drop(&mut self) {
        if let Some(queue) = QUEUE.get() {
            queue.flush(FLUSH_LIMIT);
        }
    }
}

/// Starts the log of this process on the standard error stream, and logs panics.
///
/// # Errors
///
/// When a log was started already, or the thread cannot be started.
pub fn start(format: LogFormat, filter: Targets) -> io::Result<LogGuard> {
    let queue = LineQueue::new(io::stderr(), MOST_BYTES, |dropped| {
        warn!(
            dropped,
            "nobody read the log: lines were dropped, and others follow from here on"
        );
    })?;
    #[expect(
        clippy::disallowed_methods,
        reason = "variables of every program that writes to terminals, and no settings of this one"
    )]
    let colours = io::stderr().is_terminal() && wants_colours(|name| std::env::var_os(name));
    let subscriber = subscriber(format, filter, colours, queue.clone());
    subscriber.try_init().map_err(io::Error::other)?;
    // The subscriber was set by this call, so the queue is not set yet.
    let _ = QUEUE.set(queue);
    // The default hook blocks on the standard error stream, and lets a message forge lines.
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        let is_wanted = backtrace.status() == BacktraceStatus::Captured;
        let backtrace = is_wanted.then(|| display(backtrace));
        error!(%panic, backtrace, "a part of the program panicked, which is a bug in it");
    }));
    Ok(LogGuard(()))
}

/// Returns false if the environment asks for no colours: `NO_COLOR` is set to anything
/// (<https://no-color.org>), or the terminal is a `dumb` one.
fn wants_colours(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    variable("NO_COLOR").is_none_or(|value| value.is_empty())
        && variable("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Number of lines dropped so far.
pub fn lines_dropped() -> u64 {
    QUEUE.get().map_or(0, LineQueue::dropped)
}

/// The subscriber that formats events as lines.
fn subscriber<W>(
    format: LogFormat,
    filter: Targets,
    colours: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer).with_ansi(colours);
    match format {
        LogFormat::Text => {
            let lines = lines.fmt_fields(EscapedFields).with_filter(filter);
            Box::new(registry().with(lines))
        }
        LogFormat::Json => Box::new(registry().with(lines.json().with_filter(filter))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::filter::LevelFilter;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(format: LogFormat, colours: bool, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let filter = Targets::new().with_default(LevelFilter::TRACE);
        let subscriber = subscriber(format, filter, colours, move || writer.clone());
        tracing::subscriber::with_default(subscriber, log);
        let written = written.0.lock().unwrap();
        String::from_utf8(written.clone()).unwrap()
    }

    const FORGED: &str = "a\r\n2026-12-01T00:00:00Z ERROR forged \u{1b}[2J\u{9b}31m\u{7}";

    fn log_forged() {
        let error = io::Error::other(FORGED);
        let cause = &error as &dyn std::error::Error;
        warn!(node = FORGED, peer = %FORGED, debug = ?FORGED, %error, cause, "told: {FORGED}");
    }

    #[test]
    fn no_field_and_no_message_forges_a_line_or_a_colour() {
        for colours in [false, true] {
            let text = lines(LogFormat::Text, colours, log_forged);
            assert_eq!(text.lines().count(), 1, "{text:?}");
            let line = text.strip_suffix('\n').unwrap();
            let behind_level = line.split_once("WARN").unwrap().1;
            let fields = behind_level.split_once("told: ").unwrap().1;
            assert!(!fields.contains(char::is_control), "{fields:?}");
            assert_eq!(fields.matches(r"\r\n2026-12-01T").count(), 6, "{fields:?}");
            assert_eq!(line.contains('\u{1b}'), colours, "the level has its colour");
        }
    }

    #[test]
    fn the_environment_can_ask_for_no_colours() {
        let wants = |name: &str, value: &str| {
            wants_colours(|asked| (asked == name).then(|| OsString::from(value)))
        };
        assert!(wants("TERM", "xterm-256color") && wants("NO_COLOR", ""));
        assert!(!wants("TERM", "dumb") && !wants("NO_COLOR", "1"));
    }

    #[test]
    fn a_line_of_json_is_one_line() {
        let text = lines(LogFormat::Json, false, log_forged);
        assert_eq!(text.lines().count(), 1, "{text:?}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["fields"]["node"], FORGED);
    }

    #[test]
    fn a_text_line_is_as_it_always_was() {
        let log = || warn!(node = "edge-1", peer = %"10.0.0.7", left = 3, "a proxy is refused");
        let text = lines(LogFormat::Text, false, log);
        let line = text.split_once(" WARN ").unwrap().1;
        let expected = "marathon_envoy::log::setup::tests: a proxy is refused \
                        node=\"edge-1\" peer=10.0.0.7 left=3\n";
        assert_eq!(line, expected);
    }
}
