//! One connected proxy in the registry: its sessions, and the end of the last one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::departure::{Departure, SessionForm};
use super::gone::GoneProxy;
use super::identity::{ClientId, ClientNode};
use super::limits::RegistryLimits;
use super::progress::Progress;
use super::view::{KindView, ProxyView, joined};
use crate::server::{Peer, PeerKey};
use crate::snapshot::Kind;

/// Age from which streams over two connections count as two proxies with one name: longer than it
/// takes to notice a connection that was lost without a word.
const SHARED_AFTER: Duration = Duration::from_secs(60);

/// Longest pause between polls that is learned: beyond it a machine slept.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// Progress of one proxy, as seen by the transport that serves it: a stream, or all of its polls.
///
/// Implementations take locks, so a caller must hold none of those when it calls them, or when it
/// opens or drops a session.
pub trait Served: Send + Sync {
    /// The progress with each kind, as of `now`.
    fn kinds(&self, now: Instant) -> Vec<KindView>;

    /// The worst state of each kind.
    fn progress(&self, now: Instant) -> Vec<(Kind, Progress)>;

    /// Returns true if several proxies are served as one, because they share node id and address.
    fn is_shared(&self) -> bool;
}

/// An open stream or poll, closed when this is dropped.
pub struct ClientSession {
    /// None for a proxy that is not listed.
    entry: Option<Arc<ProxyEntry>>,
    served: usize,
    peer: Peer,
    told: Option<Departure>,
}

/// One proxy that is connected, or was a moment ago.
pub(super) struct ProxyEntry {
    pub(super) id: ClientId,
    /// The peer whose quota it counts against.
    pub(super) owner: PeerKey,
    form: SessionForm,
    state: Mutex<ProxyEntryState>,
}

struct ProxyEntryState {
    identity: ShownIdentity,
    since: Instant,
    /// Open sessions, by the address of their [`Served`].
    open: BTreeMap<usize, OpenSessions>,
    /// The end of the last session, while none is open.
    left: Option<LastSession>,
    /// Last states of kinds whose streams have ended.
    ended: BTreeMap<Kind, Progress>,
    /// Longest pause between polls on one connection.
    pause: Duration,
}

/// Attributes of a proxy shown beside its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ShownIdentity {
    pub(super) cluster: Arc<str>,
    pub(super) envoy: Option<Arc<str>>,
    pub(super) certificate: Option<Arc<str>>,
}

struct OpenSessions {
    served: Arc<dyn Served>,
    count: usize,
    connection: u64,
    since: Instant,
}

struct LastSession {
    at: Instant,
    /// Kept for a proxy that polls, since it comes back. The state of a stream may be large and is
    /// dropped with it.
    served: Option<Arc<dyn Served>>,
    peer: Peer,
    told: Option<Departure>,
}

impl ClientSession {
    /// A session of a proxy that is not listed.
    pub(super) fn unlisted(peer: &Peer) -> Self {
        Self {
            entry: None,
            served: 0,
            peer: peer.clone(),
            told: None,
        }
    }

    /// Sets the reason for which it ends, if that is not the end of its connection.
    pub fn set_end_reason(&mut self, reason: Departure) {
        self.told = Some(reason);
    }
}

impl Drop for ClientSession {
    fn drop(&mut self) {
        if let Some(entry) = &self.entry {
            entry.close(self.served, &self.peer, self.told, Instant::now());
        }
    }
}

impl ShownIdentity {
    pub(super) fn new(node: &ClientNode, peer: &Peer) -> Self {
        Self {
            cluster: (*node.cluster).into(),
            envoy: node.program(),
            certificate: peer.certificate_name().cloned(),
        }
    }
}

impl ProxyEntry {
    /// A proxy that connects now, without a session yet.
    pub(super) fn new(
        id: ClientId,
        form: SessionForm,
        node: &ClientNode,
        peer: &Peer,
        now: Instant,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            owner: peer.key().clone(),
            form,
            state: Mutex::new(ProxyEntryState {
                identity: ShownIdentity::new(node, peer),
                since: now,
                open: BTreeMap::new(),
                left: None,
                ended: BTreeMap::new(),
                pause: Duration::ZERO,
            }),
        })
    }

    /// The attributes shown beside its id.
    pub(super) fn identity(&self) -> ShownIdentity {
        self.state().identity.clone()
    }

    /// Opens a session.
    pub(super) fn open(
        self: &Arc<Self>,
        node: &ClientNode,
        peer: &Peer,
        served: Arc<dyn Served>,
        now: Instant,
    ) -> ClientSession {
        let mut state = self.state();
        let certificate = peer.certificate_name();
        // Compared on every poll, since a replaced Envoy comes back within a second.
        let is_same = *node.cluster == *state.identity.cluster
            && certificate == state.identity.certificate.as_ref()
            && node.is_program(state.identity.envoy.as_deref());
        if !is_same {
            state.identity = ShownIdentity::new(node, peer);
        }
        if let Some(left) = state.left.take() {
            state.ended.clear();
            if self.form == SessionForm::Polls && left.peer.connection_end().is_none() {
                let pause = now.saturating_duration_since(left.at);
                state.pause = state.pause.max(pause.min(LONGEST_PAUSE));
            }
        }
        let address = Arc::as_ptr(&served).cast::<()>().addr();
        let sessions = state.open.entry(address);
        let sessions = sessions.or_insert_with(|| OpenSessions {
            served,
            count: 0,
            connection: peer.connection(),
            since: now,
        });
        sessions.count += 1;
        ClientSession {
            entry: Some(self.clone()),
            served: address,
            peer: peer.clone(),
            told: None,
        }
    }

    fn close(&self, served: usize, peer: &Peer, told: Option<Departure>, now: Instant) {
        let mut state = self.state();
        let Some(sessions) = state.open.get_mut(&served) else {
            return;
        };
        sessions.count -= 1;
        if sessions.count > 0 {
            return;
        }
        let Some(sessions) = state.open.remove(&served) else {
            return;
        };
        let served = sessions.served;
        let is_last = state.open.is_empty();
        if is_last {
            state.left = Some(LastSession {
                at: now,
                served: (self.form == SessionForm::Polls).then(|| served.clone()),
                peer: peer.clone(),
                told,
            });
        }
        drop(state);
        if self.form == SessionForm::Streams {
            let ended = served.progress(now);
            self.state().ended.extend(ended);
        }
    }

    /// Returns the proxy as gone, if by `now` it has not come back in time.
    pub(super) fn departure(&self, limits: &RegistryLimits, now: Instant) -> Option<LostProxy> {
        let state = self.state();
        let left = state.left.as_ref()?;
        let connection = left.peer.connection_end();
        let (reason, after) = Departure::of(self.form, left.told, connection, limits)?;
        let after = after.max(state.pause * 2);
        let is_due = now.saturating_duration_since(left.at) >= after;
        is_due.then(|| LostProxy {
            gone: GoneProxy {
                id: self.id.clone(),
                owner: self.owner.clone(),
                identity: state.identity.clone(),
                connected: left.at.saturating_duration_since(state.since),
                at: left.at,
                reason,
                kinds: state.ended.clone(),
            },
            served: left.served.clone(),
        })
    }

    /// The worst state of its kinds; none before its first request.
    pub(super) fn progress(&self, now: Instant) -> Option<Progress> {
        let served = self.served().into_iter();
        let kinds = served.flat_map(|served| served.progress(now));
        let worst = kinds.map(|(_, progress)| progress).max();
        worst.or_else(|| self.state().last_states().values().copied().max())
    }

    /// True if it has yet to accept resources of this kind that it should have.
    pub(super) fn is_behind(&self, kind: Kind, now: Instant) -> bool {
        let served = self.served().into_iter();
        let mut kinds = served.flat_map(|served| served.progress(now));
        kinds.any(|(of, progress)| of == kind && progress == Progress::Stale)
    }

    /// Its row on `/proxies`.
    pub(super) fn view(&self, now: Instant) -> ProxyView {
        let served = self.served();
        let mut kinds = joined(served.iter().flat_map(|served| served.kinds(now)));
        let is_shared = served.iter().any(|served| served.is_shared());
        let state = self.state();
        let last = state.last_states().iter();
        kinds.extend(last.map(|(kind, last)| KindView::plain(kind.as_str(), *last)));
        let worst = kinds.iter().map(|kind| kind.state).max();
        ProxyView {
            node: self.id.node.to_string(),
            cluster: state.identity.cluster.to_string(),
            peer: self.id.peer,
            certificate: state.identity.certificate.as_deref().map(str::to_owned),
            transport: self.id.transport,
            envoy: state.identity.envoy.as_deref().map(str::to_owned),
            state: worst.unwrap_or(Progress::NotSent),
            connected_seconds: now.saturating_duration_since(state.since).as_secs_f64(),
            gone_seconds: None,
            gone_reason: None,
            gone_because: None,
            shared_identity: is_shared || self.form == SessionForm::Streams && state.overlaps(now),
            kinds,
        }
    }

    /// All that serves it, or the last that did.
    fn served(&self) -> Vec<Arc<dyn Served>> {
        let state = self.state();
        let open = state.open.values().map(|open| &open.served);
        let left = state.left.iter().filter_map(|left| left.served.as_ref());
        open.chain(left).cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, ProxyEntryState> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProxyEntryState {
    /// The last states of a proxy with streams, while none of them is open.
    fn last_states(&self) -> &BTreeMap<Kind, Progress> {
        static NONE: BTreeMap<Kind, Progress> = BTreeMap::new();
        if self.open.is_empty() {
            &self.ended
        } else {
            &NONE
        }
    }

    /// Returns true if streams over several connections have been open together for long.
    fn overlaps(&self, now: Instant) -> bool {
        let is_old =
            |open: &&OpenSessions| now.saturating_duration_since(open.since) >= SHARED_AFTER;
        let mut connections = self
            .open
            .values()
            .filter(is_old)
            .map(|open| open.connection);
        let first = connections.next();
        connections.any(|connection| Some(connection) != first)
    }
}

/// A proxy that is gone, and the last that served it.
pub(super) struct LostProxy {
    gone: GoneProxy,
    served: Option<Arc<dyn Served>>,
}

impl LostProxy {
    /// The gone proxy, with the last state of each kind.
    pub(super) fn with_last_states(self, now: Instant) -> GoneProxy {
        let mut gone = self.gone;
        let last = self.served.map(|served| served.progress(now));
        gone.kinds.extend(last.into_iter().flatten());
        gone
    }
}
