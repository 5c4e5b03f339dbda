//! Steps in which something fails: a health check, an agent, the leader, a task.

use std::time::Duration;

use crate::marathon::{LeaderChange, TaskView, View};
use crate::scenario::measure::{Times, is_health};
use crate::scenario::sequence::{API_CLUSTER, MANY, Scenario, ScenarioError, WEB, WEB_CLUSTER};
use crate::scenario::step::Counts;

/// Time for which a crash waits for a request that it can break. At a request a second there is one.
const IN_FLIGHT_LIMIT: Duration = Duration::from_secs(6);

impl Scenario<'_> {
    pub(in crate::scenario) async fn health_failure(&self) -> Result<(), ScenarioError> {
        let change = format!("{WEB}: one fails, recovers");
        self.report.begin("health failure", change, Counts::Fully);
        self.probe.waits(&[WEB_CLUSTER]).await?;
        let (id, address) = self.one_task(WEB)?;
        let mut times = Times::default();
        let from = self.marathon.next_event();
        self.marathon.set_task_health(&id, false)?;
        let failed = self
            .written(from, |event| is_health(event, WEB, false))
            .await?;
        let gone = self.probe.departure(WEB_CLUSTER, address).await?;
        times.add(self.live(failed, gone));
        self.probe.waits(&[WEB_CLUSTER]).await?;
        let heal = async { Ok(self.marathon.set_task_health(&id, true)?) };
        times.add(self.arrivals(WEB, "/", 1, Some(self.traffic), heal).await?);
        self.settle(times.live());
        Ok(())
    }

    pub(in crate::scenario) async fn agent_loss(&self) -> Result<(), ScenarioError> {
        let agent = 1;
        let on_it = |task: &TaskView| task.agent == agent;
        let tasks = self.marathon.view().tasks;
        let count = tasks.iter().filter(|task| on_it(task)).count();
        let change = format!("{count} tasks cut off and back");
        self.report.begin("agent loss", change, Counts::Losses);
        self.probe.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let before = self.probe.membership_changes(WEB_CLUSTER).await?;
        let from = self.marathon.next_event();
        self.marathon.lose_agent(agent);
        self.written(from, |event| event.text("taskStatus") == "TASK_UNREACHABLE")
            .await?;
        // The pause is the point: requests go to the tasks that nobody hears of.
        self.rest().await;
        self.marathon.return_agent(agent);
        self.all_well().await?;
        self.rest().await;
        self.unchanged_since(before).await
    }

    pub(in crate::scenario) async fn leader_change(&self) -> Result<(), ScenarioError> {
        let change = "health results forgotten".to_owned();
        self.report.begin("leader change", change, Counts::Losses);
        self.probe.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let before = self.probe.membership_changes(WEB_CLUSTER).await?;
        let lists = || self.marathon.request_count("GET", "/v2/apps");
        let listed = lists();
        self.marathon.change_leader(LeaderChange::default()).await;
        let follows = |view: &View| view.streams > 0;
        self.marathon
            .wait_until("a stream is attached", follows)
            .await?;
        self.until("the control plane has listed the new leader's apps", || {
            lists() > listed
        })
        .await?;
        self.all_well().await?;
        // The pause is the point here, too.
        self.rest().await;
        self.unchanged_since(before).await
    }

    pub(in crate::scenario) async fn crash(&self) -> Result<(), ScenarioError> {
        let change = format!("{WEB}: one, in mid-request");
        self.report.begin("crash", change, Counts::Apart);
        self.probe.waits(&[WEB_CLUSTER]).await?;
        let (id, address) = self.one_task(WEB)?;
        let tasks = self.marathon.view().tasks;
        let control = tasks.into_iter().find(|task| task.id == id);
        if let Some(control) = control.and_then(|task| task.control) {
            control.hold();
            // When none comes in time there is nothing to break, and the crash is all the milder.
            let _ = tokio::time::timeout(IN_FLIGHT_LIMIT, control.in_flight(1)).await;
        }
        let from = self.marathon.next_event();
        self.marathon.crash_task(&id)?;
        let failed = self.written(from, |event| {
            event.text("taskId") == id && event.text("taskStatus") == "TASK_FAILED"
        });
        let failed = failed.await?;
        let gone = self.probe.departure(WEB_CLUSTER, address).await?;
        let live = self.live(failed, gone);
        self.all_well().await?;
        self.has_hosts(WEB_CLUSTER, MANY).await?;
        self.settle(live);
        Ok(())
    }
}
