//! The life of a token: how long it is, a renewal in time, and what is done when there is none.

use std::time::Duration;

use vaultrs::api::token::requests::RenewTokenSelfRequest;

use super::{NextAction, TokenKeeper};
use crate::vault::lease::Lease;
use crate::vault::requester::RequestKind;

/// Reason, in the log, for which a renewable token ends all the same.
const LONGEST: &str = "it is near the longest life that Vault gives it";

impl TokenKeeper {
    pub(super) async fn look_up(&mut self) {
        let Some(token) = self.token() else {
            return self.plan(NextAction::Acquire, Duration::ZERO);
        };
        let asked = self.clock.now();
        match self.looked_up(&token).await {
            Ok(lookup) => {
                self.works();
                if lookup.num_uses > 0 {
                    tracing::error!(
                        uses_left = lookup.num_uses,
                        remedy = "make one without a limit of uses",
                        "the token for vault can be used a few times only, and every request is one"
                    );
                }
                let lease = Lease::found(&lookup, asked);
                self.set_lease(lease);
                self.plan_for(lease);
            }
            Err(error) if error.denied() => self.refuse(&error).await,
            Err(error) => self.try_again(NextAction::LookUp, &error).await,
        }
    }

    pub(super) async fn renew(&mut self) {
        let Some(token) = self.token() else {
            return self.plan(NextAction::Acquire, Duration::ZERO);
        };
        let asked = self.clock.now();
        // Without an increment Vault grants what the token was made with.
        let request = RenewTokenSelfRequest { increment: None };
        let answer = self
            .requester
            .ask(RequestKind::Renewal, &token, request)
            .await;
        let before = self.leased.as_ref().and_then(|leased| leased.lease);
        match answer {
            Ok(answer) => {
                self.works();
                let Some(auth) = answer.auth else {
                    return self.plan(NextAction::LookUp, self.requester.config().backoff_limit);
                };
                let lease = Lease::granted(&auth, asked);
                let extends = before.is_none_or(|before| lease.extends(&before, asked));
                let shrinks = before.is_some_and(|before| lease.is_shorter_than(&before));
                self.set_lease(lease);
                if shrinks && !self.login.can_repeat() {
                    self.announce_end(lease, LONGEST);
                }
                if extends {
                    tracing::debug!(
                        lifetime_seconds = auth.lifetime.as_secs(),
                        "the token for vault is renewed"
                    );
                    self.plan_for(lease);
                } else {
                    self.end_in_sight(lease, LONGEST);
                }
            }
            Err(error) if error.denied() => self.refuse(&error).await,
            // It cannot be renewed at all: a batch token, a root token, another client
            // certificate than the one that it was made for.
            Err(error) if error.refused().is_some() && !error.passes() => {
                tracing::debug!(%error, "the token for vault cannot be renewed");
                match before {
                    Some(lease) => {
                        let lease = lease.unrenewable();
                        self.set_lease(lease);
                        self.end_in_sight(lease, "Vault does not renew it");
                    }
                    None => self.plan(NextAction::LookUp, self.requester.config().backoff_limit),
                }
            }
            Err(error) => {
                let now = self.clock.now();
                let nearly_over = before.is_some_and(|lease| lease.is_nearly_over(now));
                let next = if nearly_over && self.login.can_repeat() {
                    NextAction::Acquire
                } else {
                    NextAction::Renew
                };
                self.try_again(next, &error).await;
            }
        }
    }

    /// The token can live no longer than this: another one is got while it still does, or somebody
    /// has to give one.
    fn end_in_sight(&mut self, lease: Lease, why: &'static str) {
        if self.login.can_repeat() {
            tracing::debug!(why, "another token for vault is got");
            return self.plan(NextAction::Acquire, Duration::ZERO);
        }
        self.announce_end(lease, why);
        let left = self.left(lease);
        if lease.renewable && self.requester.config().renew {
            // The longest life is computed anew at each renewal, and may have been raised.
            let wait = (left * 2 / 3).max(self.requester.config().backoff_limit);
            self.plan(NextAction::Renew, wait);
        } else {
            self.next = NextAction::Rest;
        }
    }

    /// Says once that a token ends which only somebody else can replace.
    fn announce_end(&mut self, lease: Lease, why: &'static str) {
        let left = self.left(lease);
        // What an agent renews, the agent answers for.
        if let Some(leased) = &mut self.leased
            && !leased.said_it_ends
            && self.requester.config().renew
        {
            leased.said_it_ends = true;
            tracing::error!(
                why,
                lifetime_seconds = left.as_secs(),
                remedy = self.login.remedy(),
                "the token for vault ends and cannot be renewed"
            );
        }
    }

    fn left(&self, lease: Lease) -> Duration {
        let now = self.clock.now();
        lease.end().map_or(Duration::ZERO, |end| end.left(now))
    }

    /// Plans the next action of a lease: none if it has no end, else a renewal, else another token.
    pub(super) fn plan_for(&mut self, lease: Lease) {
        let after = lease.renew_after(&mut rand::rng());
        if lease.end().is_none() {
            self.next = NextAction::Rest;
        } else if lease.renewable && self.requester.config().renew {
            self.plan(NextAction::Renew, after);
        } else if self.login.can_repeat() {
            self.plan(NextAction::Acquire, after);
        } else {
            self.end_in_sight(lease, "Vault does not renew it");
        }
    }
}
