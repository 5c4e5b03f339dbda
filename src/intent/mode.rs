//! The protocol that proxies speak for a service.

/// The protocol that proxies speak for a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// HTTP: requests are routed one by one.
    #[default]
    Http,
    /// TCP: whole connections go to a task.
    Tcp,
}
