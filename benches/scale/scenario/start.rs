//! `start`: from the start of the process until it is ready, beside the bare parse of the list.

use tokio::runtime::Handle;

use super::environment::Environment;
use super::subject::Turn;
use crate::arguments::StartArguments;
use crate::error::Error;
use crate::floor::parse;
use crate::report::{Report, Samples, counted, milliseconds};
use crate::usage;

/// Runs the scenario.
pub(crate) async fn start(arguments: StartArguments, runtime: &Handle) -> Result<(), Error> {
    let common = &arguments.common;
    let mut report = Report::new("start", common.json.clone());
    let environment = Environment::start(common, runtime).await?;
    let list = environment.marathon.list();
    let mut parsed_ms = Samples::default();
    let [mut ready_ms, mut processor_ms, mut resident_kb, mut peak_kb] = <[Samples; 4]>::default();
    for turn in Turn::order(common.rounds * arguments.starts, !common.no_floor) {
        match turn {
            Turn::Floor => {
                let parsed = parse(&list)?;
                let size = common.size();
                if (parsed.apps, parsed.tasks) != (size.apps, size.apps * size.tasks) {
                    let text = format!("the list holds {} tasks", parsed.tasks);
                    return Err(Error::Worthless(text));
                }
                parsed_ms.push(milliseconds(parsed.time));
            }
            Turn::Ours => {
                let lists = environment.marathon.counts().lists;
                let daemon = environment.daemon().await?;
                ready_ms.push(milliseconds(daemon.ready_after()));
                let processor = usage::processor_time(daemon.process())?;
                processor_ms.push(milliseconds(processor));
                let memory = usage::memory(daemon.process())?;
                resident_kb.push(memory.resident as f64);
                peak_kb.push(memory.peak as f64);
                if environment.marathon.counts().lists == lists {
                    let text = "the daemon was ready without a list".to_owned();
                    return Err(Error::Worthless(text));
                }
                daemon.stop().await?;
            }
        }
    }
    let case = format!(
        "{}, {} each",
        counted(common.apps, "app"),
        counted(common.tasks, "task")
    );
    let parsed = (!common.no_floor).then_some(("parse", &parsed_ms));
    report.row(&case, "ready after, ms", &ready_ms, parsed)?;
    report.row(&case, "processor, ms", &processor_ms, parsed)?;
    report.row(&case, "resident, KB", &resident_kb, None)?;
    let list_kb = Samples::one(list.len() as f64 / 1024.0);
    report.row(&case, "peak, KB", &peak_kb, Some(("list", &list_kb)))?;
    report.finish()
}
