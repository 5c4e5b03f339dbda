//! One change, from its cause to the last proxy, and the figures of many.

use std::time::Duration;

use super::environment::Change;
use super::subject::Subject;
use crate::error::Error;
use crate::report::{Report, Samples, milliseconds};
use crate::xds::Fleet;

/// Time limit of a change that is made here.
const LIMIT: Duration = Duration::from_secs(60);

/// Time limit of a change that is awaited.
const AWAITED_LIMIT: Duration = Duration::from_secs(600);

/// Name of a figure, and its samples.
type Row = (&'static str, fn(&Figures) -> &Samples);

/// Figures of one kind of change, over one transport, of one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    last_ms: Samples,
    half_ms: Samples,
    processor_ms: Samples,
    received: Samples,
    sent: Samples,
    messages: Samples,
}

impl Figures {
    /// Makes a change, waits until every proxy has it and nothing more is on its way, and adds the
    /// figures of that.
    pub(crate) async fn measure(
        &mut self,
        subject: &mut Subject<'_>,
        fleet: &Fleet,
        proxies: usize,
        change: Change,
    ) -> Result<(), Error> {
        fleet.expect(vec![subject.mark(change)]);
        let (traffic, reconnects) = (fleet.traffic(), fleet.reconnects());
        let processor = subject.processor_time()?;
        let started = subject.change(change).await?;
        let limit = if started.is_some() {
            LIMIT
        } else {
            AWAITED_LIMIT
        };
        let sightings = fleet.sightings(limit).await?;
        fleet.quiet().await;
        if fleet.reconnects() > reconnects {
            return Err(Error::Worthless("streams ended during a change".to_owned()));
        }
        let (Some(first), Some(last)) = (sightings.first(), sightings.last()) else {
            return Err(Error::Worthless("no proxy to measure".to_owned()));
        };
        // An awaited change begins when the first proxy has it.
        let started = started.unwrap_or(*first);
        let half = sightings.get(sightings.len() / 2).unwrap_or(last);
        let traffic = fleet.traffic().since(traffic);
        let each = |total: u64| total as f64 / proxies as f64;
        self.last_ms
            .push(milliseconds(last.saturating_duration_since(started)));
        self.half_ms
            .push(milliseconds(half.saturating_duration_since(started)));
        let processor = subject.processor_time()?.saturating_sub(processor);
        self.processor_ms.push(milliseconds(processor));
        self.received.push(each(traffic.received_bytes));
        self.sent.push(each(traffic.sent_bytes));
        self.messages.push(each(traffic.messages));
        Ok(())
    }

    /// Times and processor time, beside those of a floor.
    pub(crate) fn report_times(
        &self,
        report: &mut Report,
        case: &str,
        floor: Option<(&'static str, &Self)>,
    ) -> Result<(), Error> {
        let rows: [Row; 3] = [
            ("last has it, ms", |of| &of.last_ms),
            ("half have it, ms", |of| &of.half_ms),
            ("processor, ms", |of| &of.processor_ms),
        ];
        self.report_rows(report, case, floor, &rows)
    }

    /// Bytes and messages of one proxy, beside those of a floor.
    pub(crate) fn report_bytes(
        &self,
        report: &mut Report,
        case: &str,
        floor: Option<(&'static str, &Self)>,
    ) -> Result<(), Error> {
        let rows: [Row; 3] = [
            ("bytes to a proxy", |of| &of.received),
            ("bytes from a proxy", |of| &of.sent),
            ("messages to a proxy", |of| &of.messages),
        ];
        self.report_rows(report, case, floor, &rows)
    }

    fn report_rows(
        &self,
        report: &mut Report,
        case: &str,
        floor: Option<(&'static str, &Self)>,
        rows: &[Row],
    ) -> Result<(), Error> {
        for (figure, pick) in rows {
            let beside = floor.map(|(name, figures)| (name, pick(figures)));
            report.row(case, figure, pick(self), beside)?;
        }
        Ok(())
    }

    /// The times and the processor time beside those of the TCP floor.
    pub(crate) fn report_tcp(
        &self,
        report: &mut Report,
        case: &str,
        last_ms: &Samples,
        processor_ms: &Samples,
    ) -> Result<(), Error> {
        report.row(
            case,
            "last has it, ms",
            &self.last_ms,
            Some(("tcp", last_ms)),
        )?;
        report.row(
            case,
            "processor, ms",
            &self.processor_ms,
            Some(("tcp", processor_ms)),
        )
    }

    /// Typical bytes to one proxy and from it.
    pub(crate) fn typical_bytes(&self) -> (f64, f64) {
        (self.received.median(), self.sent.median())
    }
}
