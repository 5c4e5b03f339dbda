//! Configuration of the record.

use std::path::PathBuf;
use std::time::Duration;

use super::key::SealingKey;

/// Configuration of the record.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its folder (`STATE_DIR`), which is created if it is missing.
    pub folder: PathBuf,
    /// The key that seals it (`STATE_KEY_FILE`). Without one it holds no certificates.
    pub key: Option<SealingKey>,
    /// The addresses of the Marathon that it is about, without logins. A record of which none is
    /// among them is of another Marathon.
    pub marathons: Vec<String>,
    /// Least time between the beginnings of two writes while the configuration changes: 5 s. A
    /// record of 10,000 apps is some 12 MB.
    pub pause: Duration,
    /// Time after which a record of an unchanged configuration is written again, so that it tells
    /// until when it was true: 5 minutes, as often as Marathon lists everything.
    pub renewal: Duration,
    /// Time after a failed write until the next attempt, if nothing changes: 30 s.
    pub retry: Duration,
    /// Limit of the last write, at the stop: 5 s, as for the proxies' connections.
    pub stop_limit: Duration,
}

impl Config {
    /// A record in this folder with the default time limits.
    pub fn new(folder: PathBuf, key: Option<SealingKey>, marathons: Vec<String>) -> Self {
        Self {
            folder,
            key,
            marathons,
            pause: Duration::from_secs(5),
            renewal: Duration::from_secs(300),
            retry: Duration::from_secs(30),
            stop_limit: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_times_are_these() {
        let config = Config::new("/state".into(), None, Vec::new());
        assert_eq!(config.pause, Duration::from_secs(5));
        assert_eq!(config.renewal, Duration::from_secs(300));
        assert_eq!(config.retry, Duration::from_secs(30));
        assert_eq!(config.stop_limit, Duration::from_secs(5));
    }
}
