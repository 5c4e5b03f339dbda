//! The acts of the story: what each does to Marathon, and what is to come of it.

mod certificates;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use sim::marathon::{LeaderChange, Recorded, TaskView};

use super::edge::answered_by;
use super::step::Counts;
use super::story::{
    API, API_CLUSTER, API_PATH, BURST, FEW, HOST, MANY, Story, StoryError, Times, WEB, WEB_CLUSTER,
    WEB_HOSTS, addresses, app, is_health,
};

/// How long a crash waits for a request that it can break. At a request a second there is one.
const IN_FLIGHT_LIMIT: Duration = Duration::from_secs(6);

impl Story<'_> {
    pub(super) async fn deploy(&self) -> Result<(), StoryError> {
        let change = format!("{WEB}: first of {FEW} tasks");
        self.board.begin("deploy", change, Counts::Fully);
        self.start_unchecked(app(WEB, WEB_HOSTS, "/"), FEW).await?;
        self.edge.waits(&[WEB_CLUSTER]).await?;
        let live = self.arrivals(WEB, "/", 1, None, self.let_pass()).await?;
        self.traffic.begin(self.edge.target("/"), self.rate);
        if let Some(vault) = self.vault {
            let secure = self.secure_target(vault, HOST)?;
            let answered = |answer: &_| answered_by(answer).is_some();
            let there = self.edge.first_answer_of(secure.clone(), None, answered);
            there.await.ok_or(StoryError::InVain {
                what: "the edge answers over TLS",
                within: self.edge.limit,
            })?;
            self.traffic.begin(secure, self.secure_rate());
        }
        self.has_hosts(WEB_CLUSTER, FEW).await?;
        // The pause is the point: the first requests go to the first tasks.
        self.rest().await;
        self.settle(live);
        Ok(())
    }

    pub(super) async fn scale_up(&self) -> Result<(), StoryError> {
        let change = format!("{WEB} {FEW} → {MANY}, one by one");
        self.board.begin("scale up", change, Counts::Fully);
        let mut times = Times::default();
        for count in FEW + 1..=MANY {
            self.edge.waits(&[WEB_CLUSTER]).await?;
            let scale = async { Ok(self.marathon.scale(WEB, count).await.map(|_| ())?) };
            times.add(
                self.arrivals(WEB, "/", 1, Some(self.traffic), scale)
                    .await?,
            );
        }
        self.settle(times.live());
        Ok(())
    }

    pub(super) async fn path_route(&self) -> Result<(), StoryError> {
        let change = format!("{HOST}{API_PATH} → {API}");
        self.board.begin("path route", change, Counts::Losses);
        self.edge.waits(&[WEB_CLUSTER]).await?;
        let from = self.marathon.next_event();
        // Nobody is asked for yet, so Envoy itself answers that: 503 instead of the other app.
        let led = |answer: &_| answered_by(answer).is_none();
        let (start, at) = tokio::join!(
            self.start_unchecked(app(API, HOST, API_PATH), FEW),
            self.edge.first_answer(API_PATH, None, led),
        );
        start?;
        let posted = self.written(from, |event| {
            event.event_type == "api_post_event" && event.text("uri") == "/v2/apps"
        });
        let live = self.live(posted.await?, at);
        self.settle(live);

        let change = format!("{API}: first of {FEW} tasks");
        self.board.begin("first task", change, Counts::Fully);
        self.edge.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let live = self
            .arrivals(API, API_PATH, 1, None, self.let_pass())
            .await?;
        self.traffic.begin(self.edge.target(API_PATH), self.rate);
        self.has_hosts(API_CLUSTER, FEW).await?;
        self.rest().await;
        self.settle(live);
        Ok(())
    }

    pub(super) async fn burst(&self) -> Result<(), StoryError> {
        let change = format!("{API} {FEW} → {BURST}, at once");
        self.board.begin("burst", change, Counts::Burst);
        self.edge.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let scale = async { Ok(self.marathon.scale(API, BURST).await.map(|_| ())?) };
        let count = BURST - FEW;
        let live = self.arrivals(API, API_PATH, count, Some(self.traffic), scale);
        let live = live.await?;
        self.settle(live);
        Ok(())
    }

    pub(super) async fn rolling_restart(&self) -> Result<(), StoryError> {
        let change = format!("{WEB}: {MANY}, one by one");
        self.board.begin("rolling restart", change, Counts::Fully);
        let mut times = Times::default();
        // With the checks at rest, each new task waits for its first one until Envoy waits, too.
        self.marathon.hold_health_checks(true);
        let version = self.marathon.restart(WEB).await?.version;
        for _ in 0..MANY {
            self.marathon
                .wait_until("a new task runs", |view| {
                    let running = view.running(WEB);
                    let mut new = running.iter().filter(|task| task.version == version);
                    new.any(|task| task.healthy.is_none())
                })
                .await?;
            self.edge.waits(&[WEB_CLUSTER]).await?;
            let from = self.marathon.next_event();
            let pass = async {
                self.marathon.hold_health_checks(false);
                let passed = |event: &Recorded| is_health(event, WEB, true);
                self.marathon.event_written(from, passed).await?;
                self.marathon.hold_health_checks(true);
                Ok(())
            };
            times.add(self.arrivals(WEB, "/", 1, Some(self.traffic), pass).await?);
        }
        self.marathon.hold_health_checks(false);
        self.marathon.settled(WEB, MANY).await?;
        self.has_hosts(WEB_CLUSTER, MANY).await?;
        self.settle(times.live());
        Ok(())
    }

    pub(super) async fn health_failure(&self) -> Result<(), StoryError> {
        let change = format!("{WEB}: one fails, recovers");
        self.board.begin("health failure", change, Counts::Fully);
        self.edge.waits(&[WEB_CLUSTER]).await?;
        let (id, address) = self.one_task(WEB)?;
        let mut times = Times::default();
        let from = self.marathon.next_event();
        self.marathon.set_task_health(&id, false)?;
        let failed = self
            .written(from, |event| is_health(event, WEB, false))
            .await?;
        let gone = self.edge.departure(WEB_CLUSTER, address).await?;
        times.add(self.live(failed, gone));
        self.edge.waits(&[WEB_CLUSTER]).await?;
        let heal = async { Ok(self.marathon.set_task_health(&id, true)?) };
        times.add(self.arrivals(WEB, "/", 1, Some(self.traffic), heal).await?);
        self.settle(times.live());
        Ok(())
    }

    pub(super) async fn agent_loss(&self) -> Result<(), StoryError> {
        let agent = 1;
        let on_it = |task: &TaskView| task.agent == agent;
        let tasks = self.marathon.view().tasks;
        let count = tasks.iter().filter(|task| on_it(task)).count();
        let change = format!("{count} tasks cut off and back");
        self.board.begin("agent loss", change, Counts::Losses);
        self.edge.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let before = self.edge.membership_changes(WEB_CLUSTER).await?;
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

    pub(super) async fn leader_change(&self) -> Result<(), StoryError> {
        let change = "health results forgotten".to_owned();
        self.board.begin("leader change", change, Counts::Losses);
        self.edge.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let before = self.edge.membership_changes(WEB_CLUSTER).await?;
        let lists = || self.marathon.request_count("GET", "/v2/apps");
        let listed = lists();
        self.marathon.change_leader(LeaderChange::default()).await;
        self.marathon.streams(1).await?;
        self.until("the daemon has listed the new leader's apps", || {
            lists() > listed
        })
        .await?;
        self.all_well().await?;
        // The pause is the point here, too.
        self.rest().await;
        self.unchanged_since(before).await
    }

    pub(super) async fn crash(&self) -> Result<(), StoryError> {
        let change = format!("{WEB}: one, in mid-request");
        self.board.begin("crash", change, Counts::Apart);
        self.edge.waits(&[WEB_CLUSTER]).await?;
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
        let gone = self.edge.departure(WEB_CLUSTER, address).await?;
        let live = self.live(failed, gone);
        self.all_well().await?;
        self.has_hosts(WEB_CLUSTER, MANY).await?;
        self.settle(live);
        Ok(())
    }

    pub(super) async fn scale_down(&self) -> Result<(), StoryError> {
        let change = format!("{WEB} {MANY} → {FEW}, one by one");
        self.board.begin("scale down", change, Counts::Fully);
        let mut times = Times::default();
        for count in (FEW..MANY).rev() {
            self.edge.waits(&[WEB_CLUSTER]).await?;
            let addresses: BTreeMap<String, SocketAddr> = addresses(&self.marathon.view().tasks);
            let from = self.marathon.next_event();
            self.marathon.scale(WEB, count).await?;
            let killed = self.written(from, |event| {
                event.text("appId") == WEB && event.text("taskStatus") == "TASK_KILLING"
            });
            let killed = killed.await?;
            if let Some(address) = addresses.get(killed.text("taskId")) {
                let gone = self.edge.departure(WEB_CLUSTER, *address).await?;
                times.add(self.live(killed, gone));
            }
        }
        self.settle(times.live());
        Ok(())
    }

    pub(super) async fn delete(&self) -> Result<(), StoryError> {
        let change = format!("{HOST}{API_PATH} → {WEB}");
        self.board.begin("delete", change, Counts::Losses);
        // Whoever deletes an app has seen that nobody uses it any more.
        self.traffic.end(&self.edge.target(API_PATH)).await;
        self.edge.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let web: BTreeSet<String> = self.served(WEB);
        let from = self.marathon.next_event();
        self.marathon.delete(API).await?;
        let led = |answer: &_| answered_by(answer).is_some_and(|task| web.contains(task));
        let at = self.edge.first_answer(API_PATH, None, led).await;
        let deleted = self.written(from, |event| event.event_type == "group_change_success");
        let live = self.live(deleted.await?, at);
        self.marathon
            .wait_until("no task of a deleted app is left", |view| {
                view.tasks.iter().all(|task| task.app != API)
            })
            .await?;
        self.edge.waits(&[WEB_CLUSTER]).await?;
        self.settle(live);
        Ok(())
    }
}
