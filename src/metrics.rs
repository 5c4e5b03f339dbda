//! Every metric: its name, its unit, its help.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use tokio::time::Instant;

/// Upper bounds of the latency histograms, in seconds: from what an event costs here to what a
/// slow proxy takes.
const LATENCY_SECONDS: [f64; 14] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// Something, and when it was heard: so that whoever acts on it can measure how long that took.
#[derive(Clone, Debug)]
pub struct Heard<T> {
    /// When its last byte was read.
    pub at: Instant,
    /// What was heard.
    pub what: T,
}

impl<T> Heard<T> {
    /// Something that was heard now.
    pub fn now(what: T) -> Self {
        Self {
            at: Instant::now(),
            what,
        }
    }
}

/// Sets metrics that are computed when they are asked for.
type Compute = dyn Fn(&Metrics) + Send + Sync;

/// The metrics of one process. Handles are shared; clones of the `Arc` count together.
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
    pub events: IntCounterVec,
    pub frames_rejected: IntCounterVec,
    pub resyncs: IntCounterVec,
    pub fetches: IntCounterVec,
    pub fetch_seconds: Histogram,
    pub logins: IntCounterVec,
    pub event_to_publish_seconds: Histogram,
    pub publishes: IntCounter,
    pub losses_held_back: IntCounter,
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
    pub admin_connections_cut: IntCounterVec,
    pub admin_requests_refused: IntCounterVec,
    pub vault_requests: IntCounterVec,
    pub vault_logged_in: IntGauge,
    pub vault_token_expiry: IntGauge,
    pub vault_certificates_read: IntGauge,
}

impl Metrics {
    /// All metrics, at zero.
    ///
    /// # Errors
    ///
    /// When two metrics have one name, which a test rules out.
    pub fn new() -> Result<Arc<Self>, prometheus::Error> {
        let mut new = Builder::default();
        let metrics = Self {
            stream_connected: new.gauge("stream_connected", "Whether Marathon's event stream is open and confirmed (1) or not (0).")?,
            stream_connects: new.counter("stream_connects_total", "Event streams that were opened and confirmed.")?,
            stream_failures: new.counters("stream_failures_total", "Event streams that ended or could not be opened, by reason.", &["reason"])?,
            stream_silence_seconds: new.decimal_gauge(
                "stream_silence_seconds",
                "Time since the event stream last gave a sign of life; heartbeats come every 10 s.",
            )?,
            source_silence_seconds: new.decimal_gauge(
                "source_silence_seconds",
                "Time since Marathon last gave a sign of life, over the event stream or by any answer, or since the start if it never did.",
            )?,
            source_stale: new.gauge("source_stale", "Whether Marathon has been silent for STALE_AFTER (1) or not (0): what is served may be out of date.")?,
            events: new.counters("events_total", "Events read from Marathon, by event type; types unknown here count as other.", &["event_type"])?,
            frames_rejected: new.counters("frames_rejected_total", "Events and answers of Marathon that could not be used, by reason.", &["reason"])?,
            resyncs: new.counters("resyncs_total", "Full lists that were asked for, by reason.", &["reason"])?,
            fetches: new.counters("fetches_total", "Requests to Marathon besides the stream, by what was asked and how it ended.", &["what", "outcome"])?,
            fetch_seconds: new.histogram("fetch_seconds", "Time from a request to Marathon to its parsed answer.")?,
            logins: new.counters("logins_total", "Logins of the DC/OS service account, by outcome: ok, refused, or failed in another way.", &["outcome"])?,
            event_to_publish_seconds: new.histogram("event_to_publish_seconds", "Time from an event's last byte to the snapshot that holds it.")?,
            publishes: new.counter("publishes_total", "Snapshots published because something differed.")?,
            losses_held_back: new.counter("losses_held_back_total", "Lists that lost most apps or tasks at once and wait for a second list to confirm it.")?,
            agent_names_awaited: new.gauge("agent_names_awaited", "Agents whose names DNS has not answered for yet, while the first configuration waits for them.")?,
            apps: new.gauges("apps", "Apps of the last state: served, in other groups (ignored), or with nothing that can be served (skipped).", &["state"])?,
            presumed_healthy_tasks: new.gauge("presumed_healthy_tasks", "Tasks that count as healthy only because Marathon had no results at all when this process started.")?,
            problems: new.gauges("problems", "What is left out of the configuration now, by reason.", &["reason"])?,
            resources: new.gauges("resources", "Resources of the current snapshot, by kind.", &["kind"])?,
            snapshot_info: new.gauges(
                "snapshot_info",
                "The version of each kind in the current snapshot, as a label; replicas that agree show the same.",
                &["kind", "version"],
            )?,
            polls: new.counters("polls_total", "REST polls answered, by kind and by answer: changed or unchanged.", &["kind", "answer"])?,
            polls_held: new.gauges("polls_held", "REST polls held now, by kind.", &["kind"])?,
            polls_refused: new.counters("polls_refused_total", "Requests to the xDS port that were rejected, by reason.", &["reason"])?,
            polls_unordered: new.counter("polls_unordered_total", "REST polls answered without make-before-break ordering: of proxies beyond the number that is remembered, in all or of one peer.")?,
            answer_bytes: new.counters("answer_bytes_total", "Bytes of discovery responses, by kind and transport.", &["kind", "transport"])?,
            streams: new.gauges("streams", "Open gRPC streams, by transport.", &["transport"])?,
            streams_cut: new.counters("streams_cut_total", "gRPC streams ended here because of their proxy, by reason.", &["reason"])?,
            connections_cut: new.counters("connections_cut_total", "Connections to the xDS port that were cut for what they pinned or did, or refused, by reason: bytes of requests that are not complete (request_bytes), bytes of answers that are not sent (answer_bytes), an answer that was not read (slow), requests given up again and again (resets), too many of one address (connections), a place that others needed more, cut or refused (room).", &["reason"])?,
            connections_ended: new.counters("connections_ended_total", "Connections to the xDS port that were ended politely while this process goes on, by reason: the maximum age (age), or that what is served is stale (handover).", &["reason"])?,
            pushes: new.counters("pushes_total", "Discovery responses sent over gRPC streams, by kind and transport.", &["kind", "transport"])?,
            acks: new.counters("acks_total", "ACKs over gRPC streams, by kind.", &["kind"])?,
            nacks: new.counters("nacks_total", "NACKs over gRPC streams, by kind; the log and /proxies show the errors.", &["kind"])?,
            presumed_nacks: new.counters("presumed_nacks_total", "Polls with the old version after a newer response, which is how a NACK looks over REST, by kind.", &["kind"])?,
            refused_resources: new.gauges("refused_resources", "Resources that at least one proxy refuses now and that are quarantined for it, by kind; /snapshot and /proxies show which and why.", &["kind"])?,
            gates_expired: new.counters("gates_expired_total", "Resources sent although the proxy had not accepted their requirements within the time limit, by kind.", &["kind"])?,
            resources_unwritable: new.counters(
                "resources_unwritable_total",
                "Resources left out of REST responses because they have no JSON form, which is a bug of this program, by kind.",
                &["kind"],
            )?,
            publish_to_accept_seconds: new.histograms("publish_to_accept_seconds", "Time from a publication to the ACK of a waiting proxy (over REST, its next poll), by kind.", &["kind"])?,
            proxies: new.gauges("proxies", "Proxies by transport and state: synced, behind (a kind was not sent yet or not accepted yet), rejected, or gone within the last hour. A proxy is one however many connections and streams it has.", &["transport", "state"])?,
            proxies_lost: new.counters("proxies_lost_total", "Proxies that did not come back, by transport and by reason: closed (they closed the connection, or were killed), reset, timeout (nothing was heard), protocol, cut (see connections_cut_total), certificate (it ended), age (of the connection), handover (what is served here is stale), request (what they asked), silent (connected, and asking for nothing).", &["transport", "reason"])?,
            shared_identities: new.gauge("shared_identities", "Node ids shared by several proxies behind one address: their rejections go unnoticed and their updates are not ordered.")?,
            certificate_expiry: new.gauges("certificate_expiry_timestamp_seconds", "When a certificate that is served ends, in seconds since 1970, by name and by where it was read (files or vault).", &["name", "source"])?,
            clients_refused: new.counters("clients_refused_total", "Proxies that were refused on the xDS port for the certificate that they showed, or did not, by reason; the log says which names were offered.", &["reason"])?,
            xds_certificate_expiry: new.gauge("xds_certificate_expiry_timestamp_seconds", "When the certificate of the xDS port ends, in seconds since 1970; 0 while there is none.")?,
            xds_certificate_reads: new.counters("xds_certificate_reads_total", "Certificates for the xDS port that were issued or read from files, by outcome.", &["outcome"])?,
            xds_certificate_failing: new.gauge("xds_certificate_failing", "Whether the last attempt to renew the certificate of the xDS port failed (1) or not (0); the old one serves until it ends.")?,
            log_lines_dropped: new.counter("log_lines_dropped_total", "Lines of the log that were dropped because nobody read the standard error stream, or because it failed.")?,
            admin_connections_cut: new.counters("admin_connections_cut_total", "Connections to the admin port that were ended here, by reason: idle or unread (room was needed, and they were the oldest without a request or with an answer under way), stalled (nothing of an answer was read for 30 s), silent (no request within 10 s).", &["reason"])?,
            admin_requests_refused: new.counters("admin_requests_refused_total", "Requests to the admin port that a foreign web page may have made, by reason: host (a name that is not in ADMIN_HOSTS) or site (a POST from another site).", &["reason"])?,
            vault_requests: new.counters("vault_requests_total", "Requests to Vault, by what was asked and how it ended.", &["what", "outcome"])?,
            vault_logged_in: new.gauge("vault_logged_in", "Whether there is a token that Vault takes (1) or not (0).")?,
            vault_token_expiry: new.gauge("vault_token_expiry_timestamp_seconds", "When the token ends unless it is renewed, in seconds since 1970; 0 if it never does, or there is none.")?,
            vault_certificates_read: new.gauge("vault_certificates_read_timestamp_seconds", "When the certificates in Vault were last looked at with success, in seconds since 1970; 0 if never.")?,
            described: new.described,
            computed: Mutex::default(),
            registry: new.registry,
        };
        Ok(Arc::new(metrics))
    }

    /// The metrics in Prometheus' text format.
    ///
    /// # Errors
    ///
    /// When a metric cannot be written, which no input causes.
    pub fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        // Held to the end, so that two scrapes at once do not see each other's half.
        let computed = self.computed();
        computed.iter().for_each(|compute| compute(self));
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// Every metric as a row of a Markdown table: name, form, labels, meaning.
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

    /// Shows when the certificates of a source end, in seconds since 1970, by name. Those that were
    /// shown `before` and are not there any more are taken away.
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
                // It was set when it was read, so it is there.
                let labels = [name, source];
                let _ = self.certificate_expiry.remove_label_values(&labels);
            }
        }
    }

    /// Has `compute` set its metrics whenever they are asked for.
    pub fn at_scrape(&self, compute: impl Fn(&Self) + Send + Sync + 'static) {
        self.computed().push(Box::new(compute));
    }

    fn computed(&self) -> MutexGuard<'_, Vec<Box<Compute>>> {
        // A computation that panicked has left its own metric behind and nobody else's.
        self.computed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every metric's name begins with.
const NAMESPACE: &str = "marathon_envoy";

/// What a metric is, for the manual.
struct Description {
    name: String,
    form: &'static str,
    labels: String,
    help: &'static str,
}

/// Registers metrics and remembers what they are.
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
