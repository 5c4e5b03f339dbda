//! Steps that change apps: deployments, scaling, a rolling restart, a new route.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::marathon::Recorded;
use crate::scenario::measure::{Times, addresses, is_health};
use crate::scenario::probe::answered_by;
use crate::scenario::sequence::{
    API, API_CLUSTER, API_PATH, BURST, FEW, HOST, MANY, Scenario, ScenarioError, WEB, WEB_CLUSTER,
    WEB_HOSTS, app,
};
use crate::scenario::step::Counts;

impl Scenario<'_> {
    pub(in crate::scenario) async fn deploy(&self) -> Result<(), ScenarioError> {
        let change = format!("{WEB}: first of {FEW} tasks");
        self.report.begin("deploy", change, Counts::Fully);
        self.start_unchecked(app(WEB, WEB_HOSTS, "/"), FEW).await?;
        self.probe.waits(&[WEB_CLUSTER]).await?;
        let live = self.arrivals(WEB, "/", 1, None, self.let_pass()).await?;
        self.traffic.begin(self.probe.target("/"), self.rate);
        if let Some(vault) = self.vault {
            let secure = self.secure_target(vault, HOST)?;
            let answered = |answer: &_| answered_by(answer).is_some();
            let there = self.probe.first_answer_of(secure.clone(), None, answered);
            there.await.ok_or(ScenarioError::InVain {
                what: "the edge answers over TLS",
                within: self.probe.limit,
            })?;
            self.traffic.begin(secure, self.secure_rate());
        }
        self.has_hosts(WEB_CLUSTER, FEW).await?;
        // The pause is the point: the first requests go to the first tasks.
        self.rest().await;
        self.settle(live);
        Ok(())
    }

    pub(in crate::scenario) async fn scale_up(&self) -> Result<(), ScenarioError> {
        let change = format!("{WEB} {FEW} → {MANY}, one by one");
        self.report.begin("scale up", change, Counts::Fully);
        let mut times = Times::default();
        for count in FEW + 1..=MANY {
            self.probe.waits(&[WEB_CLUSTER]).await?;
            let scale = async { Ok(self.marathon.scale(WEB, count).await.map(|_| ())?) };
            times.add(
                self.arrivals(WEB, "/", 1, Some(self.traffic), scale)
                    .await?,
            );
        }
        self.settle(times.live());
        Ok(())
    }

    pub(in crate::scenario) async fn path_route(&self) -> Result<(), ScenarioError> {
        let change = format!("{HOST}{API_PATH} → {API}");
        self.report.begin("path route", change, Counts::Losses);
        self.probe.waits(&[WEB_CLUSTER]).await?;
        let from = self.marathon.next_event();
        // Nobody is asked for yet, so Envoy itself answers that: 503 instead of the other app.
        let led = |answer: &_| answered_by(answer).is_none();
        let (start, at) = tokio::join!(
            self.start_unchecked(app(API, HOST, API_PATH), FEW),
            self.probe.first_answer(API_PATH, None, led),
        );
        start?;
        let posted = self.written(from, |event| {
            event.event_type == "api_post_event" && event.text("uri") == "/v2/apps"
        });
        let live = self.live(posted.await?, at);
        self.settle(live);

        let change = format!("{API}: first of {FEW} tasks");
        self.report.begin("first task", change, Counts::Fully);
        self.probe.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let live = self
            .arrivals(API, API_PATH, 1, None, self.let_pass())
            .await?;
        self.traffic.begin(self.probe.target(API_PATH), self.rate);
        self.has_hosts(API_CLUSTER, FEW).await?;
        self.rest().await;
        self.settle(live);
        Ok(())
    }

    pub(in crate::scenario) async fn burst(&self) -> Result<(), ScenarioError> {
        let change = format!("{API} {FEW} → {BURST}, at once");
        self.report.begin("burst", change, Counts::Burst);
        self.probe.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let scale = async { Ok(self.marathon.scale(API, BURST).await.map(|_| ())?) };
        let count = BURST - FEW;
        let live = self.arrivals(API, API_PATH, count, Some(self.traffic), scale);
        let live = live.await?;
        self.settle(live);
        Ok(())
    }

    pub(in crate::scenario) async fn rolling_restart(&self) -> Result<(), ScenarioError> {
        let change = format!("{WEB}: {MANY}, one by one");
        self.report.begin("rolling restart", change, Counts::Fully);
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
            self.probe.waits(&[WEB_CLUSTER]).await?;
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

    pub(in crate::scenario) async fn scale_down(&self) -> Result<(), ScenarioError> {
        let change = format!("{WEB} {MANY} → {FEW}, one by one");
        self.report.begin("scale down", change, Counts::Fully);
        let mut times = Times::default();
        for count in (FEW..MANY).rev() {
            self.probe.waits(&[WEB_CLUSTER]).await?;
            let addresses: BTreeMap<String, SocketAddr> = addresses(&self.marathon.view().tasks);
            let from = self.marathon.next_event();
            self.marathon.scale(WEB, count).await?;
            let killed = self.written(from, |event| {
                event.text("appId") == WEB && event.text("taskStatus") == "TASK_KILLING"
            });
            let killed = killed.await?;
            if let Some(address) = addresses.get(killed.text("taskId")) {
                let gone = self.probe.departure(WEB_CLUSTER, *address).await?;
                times.add(self.live(killed, gone));
            }
        }
        self.settle(times.live());
        Ok(())
    }

    pub(in crate::scenario) async fn delete(&self) -> Result<(), ScenarioError> {
        let change = format!("{HOST}{API_PATH} → {WEB}");
        self.report.begin("delete", change, Counts::Losses);
        // Whoever deletes an app has seen that nobody uses it any more.
        self.traffic.end(&self.probe.target(API_PATH)).await;
        self.probe.waits(&[WEB_CLUSTER, API_CLUSTER]).await?;
        let web: BTreeSet<String> = self.served(WEB);
        let from = self.marathon.next_event();
        self.marathon.delete(API).await?;
        let led = |answer: &_| answered_by(answer).is_some_and(|task| web.contains(task));
        let at = self.probe.first_answer(API_PATH, None, led).await;
        let deleted = self.written(from, |event| event.event_type == "group_change_success");
        let live = self.live(deleted.await?, at);
        self.marathon
            .wait_until("no task of a deleted app is left", |view| {
                view.tasks.iter().all(|task| task.app != API)
            })
            .await?;
        self.probe.waits(&[WEB_CLUSTER]).await?;
        self.settle(live);
        Ok(())
    }
}
