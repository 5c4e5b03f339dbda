//! Resolves the agents' names aside from everything else, and again when their time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::net::backoff::{Backoff, jittered};
use crate::net::task_panic::resume_panic;
use crate::state::app::AgentHost;
use crate::state::event::{Event, List, ListedApp};

/// Look-ups at a time: each may hold a thread of the system's resolver, of which there are 512.
/// A thousand names at 50 ms each take 1.6 s, which a first publication waits for.
const AT_A_TIME: usize = 32;

/// Most simultaneous look-ups of names whose last look-up failed: where DNS is silent each takes
/// all of its time, and a name that was never asked for must not wait for that.
const RETRIES_AT_A_TIME: usize = 8;

/// Time after which a look-up is slow, and most slow ones at a time: where names that were never
/// asked for stay silent, a fresh one finds a place all the same. The earliest get all of their time,
/// so that a DNS that is slow and works makes progress; later ones are given up and tried again.
const SLOW_AFTER: Duration = Duration::from_secs(1);
const SLOW_AT_A_TIME: usize = 24;

/// Time limit of one look-up; the system's resolver gives up after about as long.
const LOOKUP_LIMIT: Duration = Duration::from_secs(15);

/// Time for which a name that nobody mentions is still looked up. Lists mention every agent that is
/// in use, several times in this span; where none comes, the state does when it is told.
const UNMENTIONED_LIMIT: Duration = Duration::from_secs(3600);

type LookedUp = io::Result<Vec<IpAddr>>;

type LookupFuture = Pin<Box<dyn Future<Output = LookedUp> + Send>>;

/// A function that looks a name up.
pub(super) type ResolveFn = Arc<dyn Fn(AgentHost) -> LookupFuture + Send + Sync>;

/// News of the resolver.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A name has these addresses now; none: it never had one.
    Resolved(AgentHost, Vec<IpAddr>),
    /// Nobody mentioned these for long: they are not looked up any more.
    Idle(Vec<AgentHost>),
}

/// News that wait for room: the newest of each name.
#[derive(Debug, Default)]
pub(super) struct PendingNews {
    resolved: BTreeMap<AgentHost, Vec<IpAddr>>,
    idle: BTreeSet<AgentHost>,
}

impl PendingNews {
    pub(super) fn is_empty(&self) -> bool {
        self.resolved.is_empty() && self.idle.is_empty()
    }

    pub(super) fn add(&mut self, news: News) {
        match news {
            News::Resolved(host, addresses) => {
                self.idle.remove(&host);
                self.resolved.insert(host, addresses);
            }
            News::Idle(hosts) => {
                for host in hosts {
                    self.resolved.remove(&host);
                    self.idle.insert(host);
                }
            }
        }
    }

    pub(super) fn events(self) -> Vec<Event> {
        let resolved = self.resolved.into_iter();
        let resolved = resolved.map(|(host, addresses)| Event::HostResolved { host, addresses });
        let idle =
            (!self.idle.is_empty()).then(|| Event::HostsIdle(self.idle.into_iter().collect()));
        resolved.chain(idle).collect()
    }
}

/// Schedule of look-ups, and the last answer for each agent's name. The memory of addresses is the
/// state's.
pub(super) struct Resolver {
    lookup: ResolveFn,
    lifetime: Duration,
    retry: Duration,
    hosts: BTreeMap<AgentHost, TrackedHost>,
    /// Time at which some name may be due: they are not looked through for every event that is
    /// heard.
    scan_at: Option<Instant>,
    lookups: JoinSet<(AgentHost, LookedUp)>,
    slow: Arc<Semaphore>,
    /// Names that were given up and of which this was not said yet.
    idle: Vec<AgentHost>,
}

struct TrackedHost {
    /// Time of the next look-up; none while one is under way.
    due: Option<Instant>,
    mentioned: Instant,
    /// The addresses that were last reported; none when nothing was.
    said: Option<Vec<IpAddr>>,
    last: LastLookup,
    backoff: Backoff,
}

/// Outcome of the last look-up of a name. In this order names take their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LastLookup {
    /// There was none.
    Never,
    /// With addresses.
    Good,
    /// Without.
    Failed,
}

impl Resolver {
    /// A resolver that knows no name yet and asks the system.
    pub(super) fn new(lifetime: Duration, retry: Duration) -> Self {
        Self::with(Arc::new(|host| Box::pin(system(host))), lifetime, retry)
    }

    fn with(lookup: ResolveFn, lifetime: Duration, retry: Duration) -> Self {
        Self {
            lookup,
            lifetime,
            retry,
            hosts: BTreeMap::new(),
            scan_at: None,
            lookups: JoinSet::new(),
            slow: Arc::new(Semaphore::new(SLOW_AT_A_TIME)),
            idle: Vec::new(),
        }
    }

    /// A host was mentioned. A literal address needs no resolving.
    pub(super) fn mention(&mut self, host: &AgentHost) {
        let now = Instant::now();
        match self.hosts.get_mut(host) {
            Some(known) => known.mentioned = now,
            None if host.as_str().parse::<IpAddr>().is_ok() => {}
            None => {
                let new = TrackedHost {
                    due: Some(now),
                    mentioned: now,
                    said: None,
                    last: LastLookup::Never,
                    backoff: Backoff::new(self.retry, self.lifetime),
                };
                self.hosts.insert(host.clone(), new);
                self.scan_at = Some(now);
            }
        }
    }

    /// The facts mention agents.
    pub(super) fn mention_agents_of(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Synced(List { apps, .. })
                | Event::GroupSynced {
                    list: List { apps, .. },
                    ..
                } => {
                    for app in apps {
                        self.mention_agents_of_app(app);
                    }
                }
                Event::AppChanged(app) => self.mention_agents_of_app(app),
                Event::TaskChanged(update) | Event::PodContainerChanged(update) => {
                    if let Some(host) = &update.host {
                        self.mention(host);
                    }
                }
                Event::AppUnreadable(_)
                | Event::AppGone(_)
                | Event::PodGone(_)
                | Event::AppTerminated(_)
                | Event::DefinitionRead { .. }
                | Event::InstanceGone { .. }
                | Event::HealthChanged { .. }
                | Event::HostResolved { .. }
                | Event::HostsIdle(_)
                | Event::StopsAnnounced(_)
                | Event::StopsRevoked(_)
                | Event::TimePassed(_)
                | Event::CertificatesConfirmed(_)
                | Event::CertificatesRead { .. } => {}
            }
        }
    }

    fn mention_agents_of_app(&mut self, app: &ListedApp) {
        for host in app.tasks.iter().filter_map(|task| task.host.as_ref()) {
            self.mention(host);
        }
    }

    /// Waits for the next news. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self) -> News {
        loop {
            if self.scan_at.is_some_and(|at| at <= Instant::now()) {
                self.scan_at = self.start_due();
            }
            if !self.idle.is_empty() {
                return News::Idle(std::mem::take(&mut self.idle));
            }
            tokio::select! {
                Some(looked_up) = self.lookups.join_next() => {
                    self.scan_at = Some(Instant::now());
                    let (host, result) = match looked_up {
                        Ok(looked_up) => looked_up,
                        Err(error) => {
                            resume_panic(error);
                            // None is aborted.
                            continue;
                        }
                    };
                    if let Some(addresses) = self.learn(&host, result) {
                        return News::Resolved(host, addresses);
                    }
                }
                () = until(self.scan_at) => {}
            }
        }
    }

    /// Starts what is due and may start. Returns when more will be; what waits for a look-up to
    /// end is started then.
    fn start_due(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let is_idle = |host: &TrackedHost| now.duration_since(host.mentioned) >= UNMENTIONED_LIMIT;
        let idle = self.hosts.extract_if(.., |_, host| is_idle(host));
        self.idle.extend(idle.map(|(name, _)| name));
        let under_way = self.hosts.values().filter(|host| host.due.is_none());
        let mut retries = under_way
            .filter(|host| host.last == LastLookup::Failed)
            .count();
        let mut next: Option<Instant> = None;
        let mut due: Vec<(LastLookup, Instant, &AgentHost, &mut TrackedHost)> = Vec::new();
        for (name, host) in &mut self.hosts {
            match host.due {
                Some(at) if at > now => next = Some(next.map_or(at, |next| next.min(at))),
                Some(at) => due.push((host.last, at, name, host)),
                None => {}
            }
        }
        due.sort_by_key(|(last, at, name, _)| (*last, *at, *name));
        for (last, _, name, host) in due {
            let is_retry = last == LastLookup::Failed;
            if self.lookups.len() >= AT_A_TIME || (is_retry && retries >= RETRIES_AT_A_TIME) {
                break;
            }
            retries += usize::from(is_retry);
            host.due = None;
            let (name, lookup) = (name.clone(), (self.lookup)(name.clone()));
            let slow = Arc::clone(&self.slow);
            self.lookups
                .spawn(async move { (name, limited(lookup, &slow).await) });
        }
        next
    }

    /// A name that does not resolve any more keeps its last addresses: the failure may pass, and
    /// agents that are gone take their tasks with them.
    fn learn(&mut self, name: &AgentHost, result: LookedUp) -> Option<Vec<IpAddr>> {
        let host = self.hosts.get_mut(name)?;
        let now = Instant::now();
        let addresses = match result {
            Ok(mut addresses) if !addresses.is_empty() => {
                // IpAddr's order puts IPv4 first.
                addresses.sort_unstable();
                addresses.dedup();
                host.due = Some(now + jittered(self.lifetime, &mut rand::rng()));
                host.last = LastLookup::Good;
                host.backoff.reset();
                addresses
            }
            failed => {
                host.due = Some(now + host.backoff.wait(&mut rand::rng()));
                host.last = LastLookup::Failed;
                let error = failed.err().map(|e| e.to_string()).unwrap_or_default();
                match &host.said {
                    None => {
                        tracing::warn!(host = %name, error, "the agent's name does not resolve");
                        Vec::new()
                    }
                    Some(said) => {
                        tracing::debug!(host = %name, error, "the agent's name does not resolve");
                        said.clone()
                    }
                }
            }
        };
        if host.said.as_ref() == Some(&addresses) {
            return None;
        }
        host.said = Some(addresses.clone());
        Some(addresses)
    }
}

/// The outcome of a look-up within its time: all of it for one that is slow while few are.
async fn limited(mut lookup: LookupFuture, slow: &Semaphore) -> LookedUp {
    let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
    if let Ok(looked_up) = timeout(SLOW_AFTER, lookup.as_mut()).await {
        return looked_up;
    }
    let _place = slow.try_acquire().map_err(|_| timed_out())?;
    let rest = LOOKUP_LIMIT.saturating_sub(SLOW_AFTER);
    timeout(rest, lookup).await.unwrap_or(Err(timed_out()))
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn system(host: AgentHost) -> LookedUp {
    let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
    Ok(found.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const LIFETIME: Duration = Duration::from_secs(60);
    const RETRY: Duration = Duration::from_secs(2);

    type Script = Vec<Option<Vec<&'static str>>>;

    /// Answers look-ups from a script; its last answer for ever.
    fn resolver(script: Script) -> Resolver {
        let script = Mutex::new(script.into_iter().rev().collect::<Vec<_>>());
        let lookup: ResolveFn = Arc::new(move |_| {
            let mut script = script.lock().unwrap();
            let answer = if script.len() > 1 {
                script.pop()
            } else {
                script.last().cloned()
            };
            let answer = answer.unwrap().map_or_else(
                || Err(io::Error::other("no such name")),
                |list| Ok(list.iter().map(|ip| ip.parse().unwrap()).collect()),
            );
            Box::pin(std::future::ready(answer))
        });
        Resolver::with(lookup, LIFETIME, RETRY)
    }

    async fn addresses(resolver: &mut Resolver) -> Vec<String> {
        match resolver.next().await {
            News::Resolved(_, addresses) => addresses.iter().map(ToString::to_string).collect(),
            News::Idle(hosts) => panic!("{hosts:?} are mentioned"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_sorted_ipv4_first_each_once() {
        let mut resolver = resolver(vec![Some(vec![
            "fd00::1", "10.0.0.2", "10.0.0.1", "10.0.0.2",
        ])]);
        resolver.mention(&AgentHost::from("agent"));
        assert_eq!(
            addresses(&mut resolver).await,
            ["10.0.0.1", "10.0.0.2", "fd00::1"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_looked_up_again_and_only_changes_are_said() {
        let same = Some(vec!["10.0.0.1"]);
        let mut resolver = resolver(vec![same.clone(), same, Some(vec!["10.0.0.9"])]);
        resolver.mention(&AgentHost::from("agent"));
        let begun = Instant::now();
        assert_eq!(addresses(&mut resolver).await, ["10.0.0.1"]);
        assert_eq!(addresses(&mut resolver).await, ["10.0.0.9"]);
        assert!(begun.elapsed() >= LIFETIME.mul_f64(1.8));
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_does_not_resolve_is_said_once_and_tried_again_soon() {
        let mut resolver = resolver(vec![None, None, Some(vec!["10.0.0.1"])]);
        resolver.mention(&AgentHost::from("agent"));
        let begun = Instant::now();
        assert!(addresses(&mut resolver).await.is_empty());
        assert_eq!(addresses(&mut resolver).await, ["10.0.0.1"]);
        assert!(begun.elapsed() < RETRY * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_passing_failure_keeps_the_last_addresses() {
        let good = Some(vec!["10.0.0.1"]);
        let mut resolver = resolver(vec![good, None, Some(vec!["10.0.0.2"])]);
        resolver.mention(&AgentHost::from("agent"));
        assert_eq!(addresses(&mut resolver).await, ["10.0.0.1"]);
        assert_eq!(addresses(&mut resolver).await, ["10.0.0.2"]);
    }

    /// Names that begin with `silent` are never answered; all others at once. Each that is asked
    /// for goes to the sender.
    fn half_silent(asked: std::sync::mpsc::Sender<String>) -> Resolver {
        let lookup: ResolveFn = Arc::new(move |host| {
            let name = host.as_str().to_owned();
            asked.send(name.clone()).unwrap();
            Box::pin(async move {
                if name.starts_with("silent") {
                    std::future::pending::<()>().await;
                }
                Ok(vec![[10, 0, 0, 1].into()])
            })
        });
        Resolver::with(lookup, LIFETIME, RETRY)
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_were_never_asked_for_go_before_silent_ones() {
        const SILENT: usize = AT_A_TIME * 3;
        let (sender, asked) = std::sync::mpsc::channel();
        let mut resolver = half_silent(sender);
        for number in 0..SILENT {
            resolver.mention(&AgentHost::from(format!("silent-{number:03}").as_str()));
        }
        let mut failed = BTreeSet::new();
        let begun = Instant::now();
        while failed.len() < SILENT {
            match resolver.next().await {
                News::Resolved(host, addresses) if addresses.is_empty() => failed.insert(host),
                news @ (News::Resolved(..) | News::Idle(_)) => panic!("{news:?}"),
            };
        }
        let took = begun.elapsed();
        assert!(took < LOOKUP_LIMIT * 3 + Duration::from_secs(1), "{took:?}");
        // By now as many silent ones are asked again as may be.
        let later = timeout(LOOKUP_LIMIT * 5, resolver.next()).await;
        assert!(later.is_err(), "{later:?}");
        let again = asked.try_iter().skip(SILENT).count();
        assert!(again >= RETRIES_AT_A_TIME, "{again}");
        let mentioned = Instant::now();
        resolver.mention(&AgentHost::from("good"));
        assert_eq!(addresses(&mut resolver).await, ["10.0.0.1"]);
        assert!(mentioned.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_name_finds_a_place_among_silent_ones_that_were_never_asked_for() {
        let (sender, _asked) = std::sync::mpsc::channel();
        let mut resolver = half_silent(sender);
        for number in 0..AT_A_TIME * 2 {
            resolver.mention(&AgentHost::from(format!("silent-{number:03}").as_str()));
        }
        // All places are taken by then.
        let none = timeout(SLOW_AFTER / 2, resolver.next()).await;
        assert!(none.is_err(), "{none:?}");
        resolver.mention(&AgentHost::from("good"));
        let mentioned = Instant::now();
        loop {
            match resolver.next().await {
                News::Resolved(host, _) if host.as_str() == "good" => break,
                News::Resolved(_, addresses) => assert!(addresses.is_empty()),
                News::Idle(hosts) => panic!("{hosts:?}"),
            }
        }
        // Behind 32 more names that were never asked for, 8 places a second.
        let waited = mentioned.elapsed();
        assert!(waited <= SLOW_AFTER * 5, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dns_that_is_slow_and_works_answers_for_every_name() {
        let lookup: ResolveFn = Arc::new(|_| {
            Box::pin(async {
                tokio::time::sleep(SLOW_AFTER * 5).await;
                Ok(vec![[10, 0, 0, 1].into()])
            })
        });
        let mut resolver = Resolver::with(lookup, LIFETIME, RETRY);
        let names = 100;
        for number in 0..names {
            resolver.mention(&AgentHost::from(format!("agent-{number}").as_str()));
        }
        let mut known = BTreeSet::new();
        let begun = Instant::now();
        while known.len() < names {
            if let News::Resolved(host, addresses) = resolver.next().await
                && !addresses.is_empty()
            {
                known.insert(host);
            }
        }
        assert!(begun.elapsed() < LIFETIME * 3, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_goes_on_failing_is_tried_less_and_less() {
        let tries = Arc::new(Mutex::new(0));
        let counted = tries.clone();
        let lookup: ResolveFn = Arc::new(move |_| {
            *counted.lock().unwrap() += 1;
            Box::pin(std::future::ready(Err(io::Error::other("no such name"))))
        });
        let mut resolver = Resolver::with(lookup, LIFETIME, RETRY);
        resolver.mention(&AgentHost::from("agent"));
        assert!(addresses(&mut resolver).await.is_empty());
        let hour = timeout(LIFETIME * 50, resolver.next()).await;
        assert!(hour.is_err());
        let tries = *tries.lock().unwrap();
        assert!((50..=115).contains(&tries), "{tries}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_nobody_mentions_is_given_up_and_this_is_said() {
        let mut resolver = resolver(vec![Some(vec!["10.0.0.1"])]);
        let agent = AgentHost::from("agent");
        resolver.mention(&agent);
        let begun = Instant::now();
        assert_eq!(addresses(&mut resolver).await, ["10.0.0.1"]);
        assert_eq!(resolver.next().await, News::Idle(vec![agent.clone()]));
        let idle = begun.elapsed();
        assert!(idle >= UNMENTIONED_LIMIT && idle < UNMENTIONED_LIMIT + LIFETIME * 2);
        let silence = timeout(UNMENTIONED_LIMIT * 3, resolver.next()).await;
        assert!(silence.is_err());
        // Mentioned again, it is said again.
        resolver.mention(&agent);
        assert_eq!(addresses(&mut resolver).await, ["10.0.0.1"]);
    }

    #[test]
    fn of_each_name_the_newest_is_said() {
        let host = |name: &str| AgentHost::from(name);
        let address: IpAddr = [10, 0, 0, 1].into();
        let mut said = PendingNews::default();
        assert!(said.is_empty());
        said.add(News::Resolved(host("a"), vec![]));
        said.add(News::Idle(vec![host("a"), host("b")]));
        said.add(News::Resolved(host("b"), vec![address]));
        let resolved = Event::HostResolved {
            host: host("b"),
            addresses: vec![address],
        };
        assert_eq!(said.events(), [resolved, Event::HostsIdle(vec![host("a")])]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_literal_address_is_not_looked_up() {
        let mut resolver = resolver(vec![None]);
        resolver.mention(&AgentHost::from("10.0.0.1"));
        resolver.mention(&AgentHost::from("fd00::1"));
        let silence = timeout(Duration::from_secs(600), resolver.next()).await;
        assert!(silence.is_err());
    }

    #[tokio::test]
    async fn the_system_resolves_localhost() {
        let found = system(AgentHost::from("localhost")).await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty());
    }
}
