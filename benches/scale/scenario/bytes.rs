//! `bytes`: the bytes of one endpoint change and of one host change, by transport.

use tokio::runtime::Handle;

use super::environment::{Change, Environment, Side};
use super::measure::Figures;
use super::subject::Subject;
use crate::arguments::BytesArguments;
use crate::error::Error;
use crate::report::{Report, counted};
use crate::xds::Fleet;

/// Changes there and back; more of them say the same.
const PAIRS: u32 = 2;

/// Runs the scenario.
pub(crate) async fn bytes(arguments: BytesArguments, runtime: &Handle) -> Result<(), Error> {
    let mut report = Report::new("bytes", arguments.common.json.clone());
    let environment = Environment::start(&arguments.common, runtime).await?;
    for &transport in &arguments.transport {
        for first in [Change::Endpoint(Side::Second), Change::Host(Side::Second)] {
            environment.settle();
            let mut subject = Subject::Ours(environment.daemon().await?, &environment);
            let fleet = Fleet::start(environment.fleet(subject.address(), transport, 1, first))?;
            fleet.warm().await?;
            fleet.quiet().await;
            let mut figures = Figures::default();
            for change in (0..PAIRS).flat_map(|_| [first, first.back()]) {
                figures.measure(&mut subject, &fleet, 1, change).await?;
            }
            subject.stop().await?;
            let apps = counted(arguments.common.apps, "app");
            let tasks = counted(arguments.common.tasks, "task");
            let case = format!("{}, {apps}, {tasks}, {}", transport.name(), first.word());
            figures.report_bytes(&mut report, &case, None)?;
        }
    }
    report.finish()
}
