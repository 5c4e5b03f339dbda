//! REST-JSON polls, each held until the subscribed resources differ from those of the proxy
//! ([REST-JSON polling](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#rest-json-polling-subscriptions)).
//!
//! [`longest_hold`](polls::longest_hold) decides how long a poll is held.

mod answer;
mod poll;
mod polls;
mod proxy;
mod resend_limiter;
mod rest_request;
mod several;
mod unremembered;

pub(super) use poll::Poll;
#[cfg(test)]
pub(super) use poll::RestStep;
pub(super) use polls::Polls;
pub use proxy::ProxyId;
pub(super) use proxy::{Forgotten, HeldPoll, PolledSubscription, PollingState, Proxy};
pub(super) use unremembered::UnrememberedResends;
