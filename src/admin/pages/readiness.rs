//! The readiness pages: the publication and age of the snapshot, or what it waits for, and the
//! sources.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::source_lines;
use super::{PageBody, Pages, text};

impl Pages {
    /// 200 once a snapshot is published, however old. The sources are shown `with_sources`: their
    /// addresses and errors are not for foreign web pages.
    pub(super) fn readiness(&self, with_sources: bool) -> Response<PageBody> {
        let sources = match with_sources {
            true => (self.sources.statuses)()
                .iter()
                .map(source_lines::lines)
                .collect(),
            false => String::new(),
        };
        if self.sources.snapshot.current().is_some() {
            let unresolved = ["unresolved_agent"];
            let unresolved = self.metrics.problems.with_label_values(&unresolved).get();
            let unresolved_note = match unresolved {
                0 => String::new(),
                agents => format!(
                    "DNS gives no address for the names of {agents} agents: their tasks are left \
                     out, and /snapshot names them\n"
                ),
            };
            let age = self.age();
            text(
                StatusCode::OK,
                format!("ready\n{age}{unresolved_note}{sources}"),
            )
        } else {
            text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready: {}\n{sources}", self.waiting_for()),
            )
        }
    }

    /// The same for programs, always 200.
    pub(super) fn status(&self) -> Value {
        let is_ready = self.sources.snapshot.current().is_some();
        let (silence, is_stale) = (self.sources.source_age)();
        let sources: Vec<_> = (self.sources.statuses)()
            .iter()
            .map(source_lines::as_json)
            .collect();
        json!({
            "ready": is_ready,
            "waits_for": (!is_ready).then(|| self.waiting_for()),
            "stale": is_stale,
            "silence_seconds": silence.map(|silence| silence.as_secs_f64()),
            "sources": sources,
        })
    }

    /// The age of the served snapshot, as a line.
    fn age(&self) -> String {
        if let Some(age) = (self.sources.record_age)() {
            return format!(
                "stale: the record on disk is served, of {} s ago; Marathon has not listed its apps \
                 since the start\n",
                age.as_secs()
            );
        }
        let (silence, is_stale) = (self.sources.source_age)();
        let heard = match silence {
            Some(silence) => format!("Marathon was last heard {} s ago", silence.as_secs()),
            None => "Marathon was never heard since the start".to_owned(),
        };
        match is_stale {
            true => format!("stale: {heard}; what is served may be out of date\n"),
            false => format!("{heard}\n"),
        }
    }

    /// The reason for which no snapshot is published yet.
    pub(super) fn waiting_for(&self) -> String {
        let has_stream = self.metrics.stream_connected.get() != 0;
        let names = self.metrics.agent_names_awaited.get();
        let marathon = if !has_stream {
            "Marathon's event stream is not open".to_owned()
        } else if names > 0 {
            format!("DNS has not answered yet for the names of {names} agents")
        } else {
            "Marathon's event stream is open, and its first complete list is not here or cannot be \
             believed"
                .to_owned()
        };
        let reads_vault = self.sources.reload_certificates.is_some();
        if !reads_vault || self.metrics.vault_certificates_read.get() != 0 {
            return format!("no snapshot is published yet; {marathon}");
        }
        let vault = "the certificates in Vault were not read yet, and the log says why";
        // An open stream has most likely listed, so the certificates are missing.
        if !has_stream || names > 0 {
            format!("no snapshot is published yet; {marathon}, and {vault}")
        } else {
            format!("no snapshot is published yet; {vault}")
        }
    }
}
