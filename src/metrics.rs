//! The metrics of the process: name, unit and help text of each.

mod process;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use process::ProcessCollector;

/// Upper bounds of the latency histograms, in seconds: from the cost of an event here to the delay
/// of a slow proxy.
const LATENCY_SECONDS: [f64; 14] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// Computes metrics at a scrape.
type Compute = dyn Fn(&Metrics) + Send + Sync;

/// The metrics of one process. Clones of a handle share one value.
#[expect(
    missing_docs,
    reason = "each field's help text stands in `new`, where it is registered"
)]
pub struct Metrics {
    registry: Registry,
    described: Vec<Description>,
    computed: Mutex<Vec<Box<Compute>>>,
    pub stream_connected: IntGauge,
    pub stream_connects: IntCounter,
    pub stream_failures: IntCounterVec,
    pub stream_silence_seconds: Gauge,
    pub source_silence_seconds: Gauge,
    pub source_stale: IntGauge,
    pub source_state: IntGaugeVec,
    pub source_state_seconds: GaugeVec,
    pub events: IntCounterVec,
    pub frames_rejected: IntCounterVec,
    pub resyncs: IntCounterVec,
    pub fetches: IntCounterVec,
    pub fetches_repeated: IntCounter,
    pub fetch_seconds: Histogram,
    pub logins: IntCounterVec,
    pub event_to_publish_seconds: Histogram,
    pub publishes: IntCounter,
    pub losses_held_back: IntCounter,
    /// By kind of item.
    pub held_items: IntGaugeVec,
    pub agent_names_awaited: IntGauge,
    pub apps: IntGaugeVec,
    pub presumed_healthy_tasks: IntGauge,
    pub problems: IntGaugeVec,
    pub resources: IntGaugeVec,
    pub snapshot_info: IntGaugeVec,
    pub polls: IntCounterVec,
    pub polls_held: IntGaugeVec,
    pub polls_refused: IntCounterVec,
    pub polls_unordered: IntCounter,
    pub answer_bytes: IntCounterVec,
    pub streams: IntGaugeVec,
    pub streams_cut: IntCounterVec,
    pub connections_cut: IntCounterVec,
    pub connections_ended: IntCounterVec,
    pub pushes: IntCounterVec,
    pub acks: IntCounterVec,
    pub nacks: IntCounterVec,
    pub presumed_nacks: IntCounterVec,
    pub refused_resources: IntGaugeVec,
    pub gates_expired: IntCounterVec,
    pub resources_unwritable: IntCounterVec,
    pub publish_to_accept_seconds: HistogramVec,
    pub proxies: IntGaugeVec,
    pub proxies_lost: IntCounterVec,
    pub shared_identities: IntGauge,
    pub certificate_expiry: IntGaugeVec,
    pub clients_refused: IntCounterVec,
    pub xds_certificate_expiry: IntGauge,
    pub xds_certificate_reads: IntCounterVec,
    pub xds_certificate_failing: IntGauge,
    pub log_lines_dropped: IntCounter,
    pub authz_checks: IntCounterVec,
    pub authz_cache_hits: IntCounter,
    pub authz_seconds: Histogram,
    pub admin_connections_cut: IntCounterVec,
    pub admin_requests_refused: IntCounterVec,
    pub vault_requests: IntCounterVec,
    pub vault_logged_in: IntGauge,
    pub vault_token_expiry: IntGauge,
    pub vault_certificates_read: IntGauge,
    pub record_writes: IntCounterVec,
    pub record_written: IntGauge,
    pub record_served: IntGauge,
}

impl Metrics {
    /// Registers all metrics, at zero.
    ///
    /// # Errors
    ///
    /// When two metrics have one name, which a test rules out.
    pub fn new() -> Result<Arc<Self>, prometheus::Error> {
        let mut new = Builder::default();
        new.constant(
            "build_info",
            "1, with the version of this program and the revision of its sources (unknown if it was built outside git) as labels.",
            &[("version", env!("CARGO_PKG_VERSION")), ("revision", env!("MARATHON_ENVOY_REVISION"))],
        )?;
        new.process()?;
        let metrics = Self {
            stream_connected: new.gauge("stream_connected", "1 if the event stream of Marathon is open and confirmed, else 0.")?,
            stream_connects: new.counter("stream_connects_total", "Event streams opened and confirmed.")?,
            stream_failures: new.counters("stream_failures_total", "Event streams that ended or could not be opened, by reason.", &["reason"])?,
            stream_silence_seconds: new.decimal_gauge(
                "stream_silence_seconds",
                "Time since the last sign of life on the event stream; heartbeats come every 10 s.",
            )?,
            source_silence_seconds: new.decimal_gauge(
                "source_silence_seconds",
                "Time since the last sign of life of Marathon (a byte of the event stream or of any answer), or since the start before the first. While a record is served, since the last one before it was written.",
            )?,
            source_stale: new.gauge("source_stale", "1 if the served snapshot counts as stale, else 0: Marathon has been silent for STALE_AFTER, or has not listed its apps since the start and a record is served.")?,
            source_state: new.gauges("source_state", "1 for the state of each source, else 0: starting, working, degraded (some questions fail), failing (nothing new is learned); /status has the last error and the remedy.", &["source", "state"])?,
            source_state_seconds: new.decimal_gauges("source_state_seconds", "Time for which each source has been in its state.", &["source"])?,
            events: new.counters("events_total", "Events read from Marathon, by event type; unknown types count as other.", &["event_type"])?,
            frames_rejected: new.counters("frames_rejected_total", "Events and answers of Marathon that could not be used, by reason.", &["reason"])?,
            resyncs: new.counters("resyncs_total", "Full lists requested, by reason.", &["reason"])?,
            fetches: new.counters("fetches_total", "Requests to Marathon besides the stream, by target (what) and outcome.", &["what", "outcome"])?,
            fetches_repeated: new.counter("fetches_repeated_total", "Requests to Marathon that were sent once more, on a new connection, because no answer had begun after 3 s (for lists twice the time of the last one).")?,
            fetch_seconds: new.histogram("fetch_seconds", "Time from a request to Marathon to its parsed answer.")?,
            logins: new.counters("logins_total", "Logins of the DC/OS service account, by outcome: ok, refused, or failed.", &["outcome"])?,
            event_to_publish_seconds: new.histogram("event_to_publish_seconds", "Time from an event's last byte to the publication of the snapshot with it.")?,
            publishes: new.counter("publishes_total", "Snapshots published; each differs from the one before.")?,
            losses_held_back: new.counter("losses_held_back_total", "Sudden losses held back by the loss guard: an answer lacked too many apps, tasks or certificates at once, and waits for a second look to confirm it.")?,
            held_items: new.gauges("held_items", "Items served although the last answer lacks them, until a second look confirms their loss, by kind: apps, tasks, file_certificates or vault_certificates.", &["kind"])?,
            agent_names_awaited: new.gauge("agent_names_awaited", "Agents whose names DNS has not resolved yet, while the first snapshot waits for them.")?,
            apps: new.gauges("apps", "Apps of the last state: served, in other groups (ignored), or with nothing that can be served (skipped).", &["state"])?,
            presumed_healthy_tasks: new.gauge("presumed_healthy_tasks", "Tasks that count as healthy only because Marathon had no health check results when this process started.")?,
            problems: new.gauges("problems", "Problems: parts left out of the configuration now, by reason.", &["reason"])?,
            resources: new.gauges("resources", "Resources of the current snapshot, by kind.", &["kind"])?,
            snapshot_info: new.gauges(
                "snapshot_info",
                "The version of each kind in the current snapshot, as a label; replicas that agree show the same.",
                &["kind", "version"],
            )?,
            polls: new.counters("polls_total", "REST polls answered, by kind and by answer: changed or unchanged.", &["kind", "answer"])?,
            polls_held: new.gauges("polls_held", "REST polls held now, by kind.", &["kind"])?,
            polls_refused: new.counters("polls_refused_total", "Requests to the xDS port that were refused, by reason.", &["reason"])?,
            polls_unordered: new.counter("polls_unordered_total", "REST polls of proxies beyond the number that is remembered, in all or of one peer; they are answered without ordering.")?,
            answer_bytes: new.counters("answer_bytes_total", "Bytes of answers to proxies, by kind and by transport.", &["kind", "transport"])?,
            streams: new.gauges("streams", "gRPC streams open now, by transport.", &["transport"])?,
            streams_cut: new.counters("streams_cut_total", "gRPC streams ended here for a fault of the proxy, by reason.", &["reason"])?,
            connections_cut: new.counters("connections_cut_total", "Connections to the xDS port that were cut or refused, by reason: bytes of incomplete requests (request_bytes), bytes of unsent answers (answer_bytes), an answer that was not read (slow), too many cancelled requests (resets), too many connections from one address (connections), a slot needed for another connection (room).", &["reason"])?,
            connections_ended: new.counters("connections_ended_total", "Connections to the xDS port that were ended gracefully while this process goes on, by reason: the maximum age (age), or a stale snapshot (handover).", &["reason"])?,
            pushes: new.counters("pushes_total", "Answers sent over gRPC streams, by kind and by transport.", &["kind", "transport"])?,
            acks: new.counters("acks_total", "Answers over gRPC streams that a proxy accepted, by kind.", &["kind"])?,
            nacks: new.counters("nacks_total", "Answers over gRPC streams that a proxy rejected, by kind; the log and /proxies say why.", &["kind"])?,
            presumed_nacks: new.counters("presumed_nacks_total", "Polls that came back with the old version after a newer answer, which is how a rejection looks over REST, by kind.", &["kind"])?,
            refused_resources: new.gauges("refused_resources", "Resources that at least one proxy rejects now and that are withheld from it, by kind; /snapshot and /proxies name them and the error.", &["kind"])?,
            gates_expired: new.counters("gates_expired_total", "Answers sent although the proxy had not accepted the resources that they require within the time limit, by kind.", &["kind"])?,
            resources_unwritable: new.counters(
                "resources_unwritable_total",
                "Resources left out of REST responses because they have no JSON form, which is a bug of this program, by kind.",
                &["kind"],
            )?,
            publish_to_accept_seconds: new.histograms("publish_to_accept_seconds", "Time from the publication of a snapshot to the poll or request with which a waiting proxy accepts it, by kind.", &["kind"])?,
            proxies: new.gauges("proxies", "Proxies by transport and state: synced, behind (a kind was not sent yet or not accepted yet), rejected, or gone within the last hour. A proxy is one however many connections and streams it has.", &["transport", "state"])?,
            proxies_lost: new.counters("proxies_lost_total", "Proxies that did not come back, by transport and by reason: closed (they closed the connection, or were killed), reset, timeout, protocol, cut (see connections_cut_total), certificate (it expired), age (of the connection), handover (the snapshot here is stale), request (a refused request), silent (connected, without requests).", &["transport", "reason"])?,
            shared_identities: new.gauge("shared_identities", "Node ids that several proxies behind one address share: for these no rejection is detected and no ordering is kept.")?,
            certificate_expiry: new.gauges("certificate_expiry_timestamp_seconds", "Expiry of each served certificate, in seconds since 1970, by name and source (files or vault).", &["name", "source"])?,
            clients_refused: new.counters("clients_refused_total", "Proxies rejected on the xDS port for their certificate or the lack of one, by reason; the log names the names in it.", &["reason"])?,
            xds_certificate_expiry: new.gauge("xds_certificate_expiry_timestamp_seconds", "Expiry of the certificate of the xDS port, in seconds since 1970; 0 while there is none.")?,
            xds_certificate_reads: new.counters("xds_certificate_reads_total", "Certificates for the xDS port that were issued or read from files, by outcome.", &["outcome"])?,
            xds_certificate_failing: new.gauge("xds_certificate_failing", "1 if the last renewal of the certificate of the xDS port failed, else 0; the old one is used until it expires.")?,
            log_lines_dropped: new.counter("log_lines_dropped_total", "Log lines dropped because the standard error stream was not read, or failed.")?,
            authz_checks: new.counters("authz_checks_total", "Requests of services with a login that proxies asked about, by outcome: passed, without_login (401), wrong (401), busy (503, too many checks for the service wait), or unknown_service (503, no login of the service is known here).", &["outcome"])?,
            authz_cache_hits: new.counter("authz_cache_hits_total", "Credentials whose verdict was known, so that no password was hashed.")?,
            authz_seconds: new.histogram("authz_seconds", "Time from a proxy's question about a request to the answer.")?,
            admin_connections_cut: new.counters("admin_connections_cut_total", "Connections to the admin port that were ended here, by reason: idle or unread (cut for another connection, as the oldest without a request or with an answer in progress), stalled (nothing of an answer was read for 30 s), silent (no request within 10 s).", &["reason"])?,
            admin_requests_refused: new.counters("admin_requests_refused_total", "Requests to the admin port that a foreign web page may have made, by reason: host (a name that is not in ADMIN_HOSTS) or site (a POST from another site).", &["reason"])?,
            vault_requests: new.counters("vault_requests_total", "Requests to Vault, by target (what) and outcome.", &["what", "outcome"])?,
            vault_logged_in: new.gauge("vault_logged_in", "1 if there is a token that Vault accepts, else 0.")?,
            vault_token_expiry: new.gauge("vault_token_expiry_timestamp_seconds", "Expiry of the token unless it is renewed, in seconds since 1970; 0 if it never expires, or there is none.")?,
            vault_certificates_read: new.gauge("vault_certificates_read_timestamp_seconds", "Time of the last successful read of the certificates in Vault, in seconds since 1970; 0 if never.")?,
            record_writes: new.counters("record_writes_total", "Attempts to record the configuration in STATE_DIR, by outcome: ok or failed.", &["outcome"])?,
            record_written: new.gauge("record_written_timestamp_seconds", "Time at which the configuration was last recorded in STATE_DIR, in seconds since 1970; 0 if never.")?,
            record_served: new.gauge("record_served_timestamp_seconds", "Time at which Marathon was last heard before the record was written that is served in place of its list, in seconds since 1970; 0 if Marathon has listed its apps since the start, or nothing is served.")?,
            described: new.described,
            computed: Mutex::default(),
            registry: new.registry,
        };
        Ok(Arc::new(metrics))
    }

    /// True if an event stream ended or could not be opened since the start.
    pub fn has_stream_failed(&self) -> bool {
        let families = self.stream_failures.collect();
        let mut counts = families
            .iter()
            .flat_map(prometheus::proto::MetricFamily::get_metric);
        counts.any(|metric| metric.get_counter().get_value() > 0.0)
    }

    /// Returns the metrics in Prometheus' text format.
    ///
    /// # Errors
    ///
    /// When a metric cannot be written, which no input causes.
    pub fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        // Held to the end, so that concurrent scrapes do not see each other's half-computed values.
        let computed = self.computed();
        computed.iter().for_each(|compute| compute(self));
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// Returns every metric as a row of a Markdown table: name, form, labels, meaning.
    pub fn table(&self) -> String {
        let mut table = "| metric | form | labels | meaning |\n|---|---|---|---|\n".to_owned();
        for metric in &self.described {
            let Description {
                name,
                form,
                labels,
                help,
            } = metric;
            // Writing to a string cannot fail.
            let _ = writeln!(table, "| `{name}` | {form} | {labels} | {help} |");
        }
        table
    }

    /// Sets the expiry of a source's certificates, in seconds since 1970, by name. Those shown
    /// `before` that are gone are removed.
    pub fn show_expiries(
        &self,
        source: &str,
        expiries: &BTreeMap<String, i64>,
        before: Option<&BTreeMap<String, i64>>,
    ) {
        for (name, expiry) in expiries {
            let gauge = self.certificate_expiry.with_label_values(&[name, source]);
            gauge.set(*expiry);
        }
        for name in before.into_iter().flat_map(BTreeMap::keys) {
            if !expiries.contains_key(name) {
                // Fails if the label is missing, and it was set when the certificate was read.
                let labels = [name, source];
                let _ = self.certificate_expiry.remove_label_values(&labels);
            }
        }
    }

    /// Registers `compute`, which sets its metrics at each scrape.
    pub fn at_scrape(&self, compute: impl Fn(&Self) + Send + Sync + 'static) {
        self.computed().push(Box::new(compute));
    }

    fn computed(&self) -> MutexGuard<'_, Vec<Box<Compute>>> {
        // A computation that panicked left a stale metric behind, and no broken state.
        self.computed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prefix of every metric's name.
const NAMESPACE: &str = "marathon_envoy";

/// Description of a metric, for the manual.
struct Description {
    name: String,
    form: &'static str,
    labels: String,
    help: &'static str,
}

/// Registers metrics and collects their descriptions.
#[derive(Default)]
struct Builder {
    registry: Registry,
    described: Vec<Description>,
}

impl Builder {
    fn gauge(&mut self, name: &str, help: &'static str) -> Result<IntGauge, prometheus::Error> {
        let metric = IntGauge::with_opts(options(name, help))?;
        self.add(metric.clone(), name, "gauge", &[], help)?;
        Ok(metric)
    }

    fn decimal_gauge(
        &mut self,
        name: &str,
        help: &'static str,
    ) -> Result<Gauge, prometheus::Error> {
        let metric = Gauge::with_opts(options(name, help))?;
        self.add(metric.clone(), name, "gauge", &[], help)?;
        Ok(metric)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        let metric = IntGaugeVec::new(options(name, help), labels)?;
        self.add(metric.clone(), name, "gauge", labels, help)?;
        Ok(metric)
    }

    fn decimal_gauges(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &[&str],
    ) -> Result<GaugeVec, prometheus::Error> {
        let metric = GaugeVec::new(options(name, help), labels)?;
        self.add(metric.clone(), name, "gauge", labels, help)?;
        Ok(metric)
    }

    fn counter(&mut self, name: &str, help: &'static str) -> Result<IntCounter, prometheus::Error> {
        let metric = IntCounter::with_opts(options(name, help))?;
        self.add(metric.clone(), name, "counter", &[], help)?;
        Ok(metric)
    }

    fn counters(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        let metric = IntCounterVec::new(options(name, help), labels)?;
        self.add(metric.clone(), name, "counter", labels, help)?;
        Ok(metric)
    }

    /// A gauge that is 1 for ever, for its labels.
    fn constant(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &[(&str, &str)],
    ) -> Result<(), prometheus::Error> {
        let (names, values): (Vec<_>, Vec<_>) = labels.iter().copied().unzip();
        let metric = IntGaugeVec::new(options(name, help), &names)?;
        metric.with_label_values(&values).set(1);
        self.add(metric, name, "gauge", &names, help)
    }

    /// The metrics of the process, whose names are the same for every program.
    fn process(&mut self) -> Result<(), prometheus::Error> {
        for (name, form, help) in process::DESCRIBED {
            self.described.push(Description {
                name: name.to_owned(),
                form,
                labels: String::new(),
                help,
            });
        }
        self.registry.register(Box::new(ProcessCollector::new()?))
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &'static str,
    ) -> Result<Histogram, prometheus::Error> {
        let metric = Histogram::with_opts(histogram_options(name, help))?;
        self.add(metric.clone(), name, "histogram", &[], help)?;
        Ok(metric)
    }

    fn histograms(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let metric = HistogramVec::new(histogram_options(name, help), labels)?;
        self.add(metric.clone(), name, "histogram", labels, help)?;
        Ok(metric)
    }

    fn add(
        &mut self,
        metric: impl Collector + 'static,
        name: &str,
        form: &'static str,
        labels: &[&str],
        help: &'static str,
    ) -> Result<(), prometheus::Error> {
        self.described.push(Description {
            name: format!("{NAMESPACE}_{name}"),
            form,
            labels: labels.join(", "),
            help,
        });
        self.registry.register(Box::new(metric))
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(NAMESPACE)
}

fn histogram_options(name: &str, help: &str) -> HistogramOpts {
    HistogramOpts::new(name, help)
        .namespace(NAMESPACE)
        .buckets(LATENCY_SECONDS.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_computed_metric_is_computed_for_every_scrape() {
        let metrics = Metrics::new().unwrap();
        metrics.at_scrape(|metrics| metrics.shared_identities.inc());
        metrics.encode().unwrap();
        metrics.encode().unwrap();
        assert_eq!(metrics.shared_identities.get(), 2);
    }

    #[test]
    fn the_build_says_its_version_and_revision() {
        let text = String::from_utf8(Metrics::new().unwrap().encode().unwrap()).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let revision = env!("MARATHON_ENVOY_REVISION");
        assert!(!revision.is_empty());
        let line =
            format!("marathon_envoy_build_info{{revision=\"{revision}\",version=\"{version}\"}} 1");
        assert!(text.contains(&line), "{text}");
    }

    #[test]
    fn every_metric_can_be_registered_and_written() {
        let metrics = Metrics::new().unwrap();
        metrics
            .polls
            .with_label_values(&["clusters", "changed"])
            .inc();
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        assert!(
            text.contains("marathon_envoy_polls_total{answer=\"changed\",kind=\"clusters\"} 1")
        );
        assert!(text.contains("# TYPE marathon_envoy_event_to_publish_seconds histogram"));
    }
}
