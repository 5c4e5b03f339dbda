//! Drafts become contents: shared where nothing distinguishes a client from others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::Form;
use super::content::{Content, Piece};
use super::content_key::ContentKey;
use super::draft::Phase;
use super::holding::Last;
use super::pacing::Pacing;
use super::siblings::Siblings;
use super::snapshot_view::View;
use super::subscription::Subscription;
use crate::snapshot::{Index, Kind, Name, Resource};

/// An answer before it has a nonce.
pub(super) struct Drafted {
    pub(super) content: Arc<Content>,
    /// What the client has once it accepts this; none before the last of several parts.
    pub(super) index: Option<Arc<Index>>,
    /// What the client had accepted under the names in it, where its index does not say so.
    pub(super) before: BTreeMap<Name, Last>,
    pub(super) removed: Vec<Name>,
    /// What the resources in it replaced.
    pub(super) replaced: Vec<Arc<Resource>>,
    /// What the client lacks although the answer requires it.
    pub(super) expired: Vec<(Kind, Name)>,
    /// Whether its version leaves out what is under way.
    pub(super) is_version_wrong: bool,
    /// Whether something in it was in an answer that was refused.
    pub(super) is_reoffer: bool,
    pub(super) is_cut: bool,
    /// Whether what is in it cannot be told apart.
    pub(super) is_joint: bool,
    /// The names in it that are not to blame should it be refused.
    pub(super) trusted: BTreeSet<Name>,
    /// The names of which it holds what was in an answer that is under way.
    pub(super) untested: BTreeSet<Name>,
}

impl Drafted {
    /// An answer that takes a client to an index, with nothing exceptional about either.
    fn plain(content: Arc<Content>, index: Arc<Index>) -> Self {
        Self {
            content,
            index: Some(index),
            before: BTreeMap::new(),
            removed: Vec::new(),
            replaced: Vec::new(),
            expired: Vec::new(),
            is_version_wrong: false,
            is_reoffer: false,
            is_cut: false,
            is_joint: false,
            trusted: BTreeSet::new(),
            untested: BTreeSet::new(),
        }
    }
}

/// The next answer about endpoints, if some client with nothing exceptional was sent the same: then
/// nothing has to be found out name by name. Endpoints require nothing and have no substitutes, so what
/// takes such a client from one index to another takes every such client.
pub(super) fn repeated(
    subscription: &mut Subscription,
    phase: Phase,
    key: &ContentKey,
    view: &View<'_>,
) -> Option<Drafted> {
    let accepted = subscription.accepted.as_ref()?.id();
    // Others are told of names that are gone, each when it does not use them any more.
    let is_told_of_none = match subscription.form {
        Form::Sotw => true,
        Form::Delta => subscription.suppresses_removals,
        Form::Rest => false,
    };
    let is_usual = is_told_of_none
        && phase == Phase::AddOrUpdate
        && subscription.kind == Kind::Endpoint
        && !subscription.is_complete()
        && !subscription.is_answer_due
        && !subscription.resends_other
        && subscription.is_plain()
        && subscription.under_way.is_empty()
        && key.from == Some(accepted);
    let content = view.shared.known(key).filter(|_| is_usual)?;
    let index = view.index(subscription.kind).clone();
    subscription.sent = Some(index.clone());
    subscription.published.get_or_insert(view.published);
    Some(Drafted::plain(content, index))
}

/// The next answer that holds what changed, or when to look again. `key` is what it depends on if
/// nothing distinguished the client before this change.
pub(super) fn partial(
    subscription: &mut Subscription,
    phase: Phase,
    is_envoy: bool,
    siblings: &Siblings<'_>,
    key: Option<ContentKey>,
    pacing: &Pacing,
    now: Instant,
) -> Result<Drafted, Option<Instant>> {
    if phase == Phase::AddOrUpdate {
        subscription.forgo_restatement(&siblings.view);
    }
    let draft = loop {
        let draft = subscription.draft(phase, is_envoy, siblings, pacing, now);
        let is_owed = subscription.is_answer_due && phase == Phase::AddOrUpdate;
        if is_owed || !draft.pieces.is_empty() || !draft.removed.is_empty() {
            break draft;
        }
        if phase == Phase::AddOrUpdate && subscription.has_idle_part() {
            subscription.end_part();
            continue;
        }
        subscription.settle();
        return Err(draft.until);
    };
    let is_all = subscription.holdings.len() == draft.pieces.len();
    let is_usual = draft.pieces.iter().all(|piece| !piece.other_encoding);
    let is_plain = is_all && is_usual && !draft.is_cut && draft.expired.is_empty();
    let key = key.filter(|_| is_plain);
    let mut pieces = draft.pieces.iter();
    let is_reoffer = pieces.any(|piece| subscription.is_offered_again(&piece.resource));
    let before = subscription.take(&draft.pieces, &draft.removed);
    let (kind, flavour) = (subscription.kind, siblings.flavour);
    let (pieces, removed) = (draft.pieces, draft.removed);
    let mut is_version_wrong = false;
    let content = match key {
        Some(key) => {
            let key = with_substitutes(key, &pieces, siblings);
            shared(&key, siblings, || {
                let version = subscription.version_with(&pieces, &siblings.view);
                Content::new(kind, flavour, version, pieces, Vec::new(), |_| true)
            })
        }
        None => {
            let version = subscription.version_with(&pieces, &siblings.view);
            is_version_wrong = subscription.counts_accepted()
                && version != subscription.sent_version(&siblings.view);
            let gone = removed.clone();
            let content = Content::new(kind, flavour, version, pieces, gone, |_| true);
            Some(Arc::new(content))
        }
    };
    let content = content.ok_or(None)?;
    Ok(Drafted {
        content,
        index: subscription.sent.clone().filter(|_| !draft.is_cut),
        before,
        removed,
        replaced: Vec::new(),
        expired: draft.expired,
        is_version_wrong,
        is_reoffer,
        is_cut: draft.is_cut,
        is_joint: false,
        trusted: BTreeSet::new(),
        untested: BTreeSet::new(),
    })
}

/// The next answer that holds everything, or when to look again.
pub(super) fn complete(
    subscription: &mut Subscription,
    siblings: &Siblings<'_>,
    key: Option<ContentKey>,
    now: Instant,
) -> Result<Drafted, Option<Instant>> {
    let draft = loop {
        let draft = subscription.draft_whole(siblings, now);
        if draft.is_owed || draft.is_owed_unless_empty {
            break draft;
        }
        if subscription.suspects.is_empty() {
            subscription.settle();
            return Err(draft.until);
        }
        subscription.end_part();
    };
    let (kind, flavour) = (subscription.kind, siblings.flavour);
    let is_reoffer = draft.sent().any(|name| {
        let resource = siblings.view.resource(subscription.kind, name);
        resource.is_some_and(|resource| subscription.is_offered_again(resource))
    });
    let (before, replaced) = subscription.take_whole(&draft, siblings);
    let build = |subscription: &Subscription| {
        let pieces = subscription.whole(&draft, siblings);
        let version = subscription.sent_version(&siblings.view);
        let is_news = |name: &Name| draft.holds(name);
        Content::new(kind, flavour, version, pieces, Vec::new(), is_news)
    };
    let is_plain = draft.instead.is_empty() && draft.joined.is_empty() && draft.trusted.is_empty();
    let content = match key.filter(|_| is_plain) {
        Some(key) => shared(&key, siblings, || build(subscription)),
        None => Some(Arc::new(build(subscription))),
    };
    let content = content.ok_or(None)?;
    let under_way = subscription.under_way.iter().flat_map(|one| &*one.sent);
    let untested = under_way
        .map(|sent| &sent.name)
        .filter(|name| !draft.holds(name));
    let untested: BTreeSet<Name> = untested.cloned().collect();
    let is_silent =
        !subscription.asked.is_wildcard() && content.pieces().is_empty() && draft.gone.is_empty();
    if is_silent && !subscription.is_answer_due {
        // Of names that never were, absence says nothing.
        subscription.settle();
        return Err(draft.until);
    }
    subscription.remember(content.version(), siblings);
    Ok(Drafted {
        content,
        index: subscription.sent.clone(),
        before,
        removed: draft.gone,
        replaced,
        expired: Vec::new(),
        is_version_wrong: false,
        is_reoffer,
        is_cut: false,
        is_joint: !draft.joined.is_empty(),
        trusted: draft.trusted,
        untested,
    })
}

fn with_substitutes(mut key: ContentKey, pieces: &[Piece], siblings: &Siblings<'_>) -> ContentKey {
    let is_current = |piece: &Piece| {
        let current = siblings.view.resource(key.kind, piece.resource.name());
        current.is_none_or(|current| Arc::ptr_eq(current, &piece.resource))
    };
    key.substitutes = !pieces.iter().all(is_current);
    key
}

fn shared(
    key: &ContentKey,
    siblings: &Siblings<'_>,
    build: impl FnOnce() -> Content,
) -> Option<Arc<Content>> {
    let parts = siblings
        .view
        .shared
        .parts(key, || [Arc::new(build())].into());
    parts.first().cloned()
}
