//! First answers, which may be large and are the same for all who ask for the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::Form;
use super::client::{Answer, Client};
use super::compose::Drafted;
use super::content::{Content, Piece};
use super::draft::MAX_ANSWER_BYTES;
use super::placeholder::placeholder;
use super::shared::Parts;
use super::snapshot_view::View;
use super::subscription::Subscription;
use crate::snapshot::{Kind, Name, SetVersion};

impl Client {
    /// Whether a first answer is the same for all who ask for the same, and may be large.
    pub(super) fn begins_plainly(&self, subscription: &Subscription) -> bool {
        let fits = match subscription.kind {
            Kind::Cluster => subscription.asked.is_wildcard(),
            Kind::Endpoint => self.is_envoy || self.form != Form::Delta,
            Kind::Listener | Kind::Route | Kind::Secret => false,
        };
        fits && subscription.asked.is_anything() && subscription.is_plain()
    }

    /// The parts of a first answer.
    pub(super) fn first_parts(&self, subscription: &Subscription, view: View<'_>) -> Parts {
        let (kind, asked) = (subscription.kind, &subscription.asked);
        let resources = view.snapshot.resources(kind);
        let all: Vec<Piece> = if asked.is_wildcard() {
            resources.values().cloned().map(Piece::plain).collect()
        } else {
            let resource = |name: &Name| match resources.get(name) {
                Some(resource) => Some(resource.clone()),
                None => placeholder(kind, name),
            };
            let names = asked.names().iter();
            names.filter_map(resource).map(Piece::plain).collect()
        };
        let mut parts: Vec<Vec<Piece>> = vec![Vec::new()];
        let mut bytes = 0;
        for piece in all {
            let length = piece.len_bytes(self.flavour);
            if bytes > 0 && bytes + length > MAX_ANSWER_BYTES && !subscription.is_complete() {
                parts.push(Vec::new());
                bytes = 0;
            }
            bytes += length;
            if let Some(part) = parts.last_mut() {
                part.push(piece);
            }
        }
        let counts_parts = !subscription.counts_accepted();
        let mut whole = SetVersion::default();
        let parts = parts.into_iter().map(|pieces| {
            let contributions = pieces.iter().map(|one| one.resource.head().contribution());
            let of_part: SetVersion = contributions.collect();
            whole = whole.with(of_part);
            let version = if counts_parts { whole } else { of_part };
            let removed = Vec::new();
            let content = Content::new(kind, self.flavour, version, pieces, removed, |_| true);
            Arc::new(content)
        });
        let parts = parts.collect();
        if !asked.is_wildcard() {
            let index = view.index(kind);
            view.shared.remember_version(kind, asked, index, whole);
        }
        parts
    }

    pub(super) fn next_part(
        &mut self,
        subscription: &mut Subscription,
        now: Instant,
    ) -> Option<Answer> {
        let (parts, place) = subscription.unsent_parts.take()?;
        let content = parts.get(place)?.clone();
        let is_last = place + 1 == parts.len();
        let is_version_wrong = subscription.counts_accepted() && parts.len() > 1;
        let index = subscription.sent.clone().filter(|_| is_last);
        if !is_last {
            subscription.unsent_parts = Some((parts, place + 1));
        }
        let drafted = Drafted {
            content,
            index,
            before: BTreeMap::new(),
            removed: Vec::new(),
            replaced: Vec::new(),
            expired: Vec::new(),
            is_version_wrong,
            is_reoffer: false,
            is_cut: !is_last,
            is_joint: false,
            trusted: BTreeSet::new(),
            untested: BTreeSet::new(),
        };
        Some(self.answer(subscription, drafted, now))
    }
}
