//! Steps around Vault: a first certificate, a renewed one, a sealed Vault, the control plane's own
//! certificate.

use std::time::Duration;

use tokio::time::Instant;

use crate::acme::Issued;
use crate::load::Target;
use crate::scenario::measure::Times;
use crate::scenario::probe::answered_by;
use crate::scenario::sequence::{FEW, HOST, SHOP_HOST, Scenario, ScenarioError, WEB, WEB_CLUSTER};
use crate::scenario::step::{Counts, Live};
use crate::scenario::vault::VaultSetup;

/// Renewals of a certificate in a row.
const EXCHANGES: usize = 3;

impl Scenario<'_> {
    /// Every step around Vault; after it all is as it was before.
    pub(in crate::scenario) async fn certificates(
        &self,
        vault: &VaultSetup,
        pause: Duration,
    ) -> Result<(), ScenarioError> {
        let rest = || tokio::time::sleep(pause);
        rest().await;
        self.first_certificate(vault).await?;
        rest().await;
        self.exchange(vault).await?;
        rest().await;
        self.sealed(vault).await?;
        rest().await;
        self.unsealed(vault).await?;
        rest().await;
        self.own_certificate().await?;
        self.withdraw(vault).await
    }

    async fn first_certificate(&self, vault: &VaultSetup) -> Result<(), ScenarioError> {
        let change = format!("{SHOP_HOST}: its first");
        self.report.begin("certificate", change, Counts::Losses);
        self.probe.waits(&[WEB_CLUSTER]).await?;
        let issued = vault.acme().issue(SHOP_HOST).await?;
        // Until there is one, nobody is answered over TLS.
        let live = self.certificate_live(vault, SHOP_HOST, &issued, false);
        let live = live.await?;
        let shop = self.secure_target(vault, SHOP_HOST)?;
        self.traffic.begin(shop, self.secure_rate());
        // The pause is the point: the new listener serves, and so do the old connections.
        self.rest().await;
        self.settle(live);
        Ok(())
    }

    async fn exchange(&self, vault: &VaultSetup) -> Result<(), ScenarioError> {
        let change = format!("{HOST}: renewed, {EXCHANGES} times");
        self.report.begin("renewal", change, Counts::Losses);
        let mut times = Times::default();
        for _ in 0..EXCHANGES {
            self.probe.waits_for_secret(HOST).await?;
            let issued = vault.acme().issue(HOST).await?;
            let live = self.certificate_live(vault, HOST, &issued, true);
            times.add(live.await?);
        }
        self.settle(times.live());
        Ok(())
    }

    async fn sealed(&self, vault: &VaultSetup) -> Result<(), ScenarioError> {
        let more = FEW + 1;
        let change = format!("{WEB} {FEW} → {more} meanwhile");
        self.report.begin("vault sealed", change, Counts::Fully);
        vault.vault().seal();
        let asked = vault.vault().requests().len();
        vault.acme().signal(self.probe.control_plane).await?;
        let refused = || vault.vault().requests().len() > asked;
        self.until("vault has refused the control plane", refused)
            .await?;
        self.probe.waits(&[WEB_CLUSTER]).await?;
        let scale = async { Ok(self.marathon.scale(WEB, more).await.map(|_| ())?) };
        let live = self.arrivals(WEB, "/", 1, Some(self.traffic), scale);
        let live = live.await?;
        self.settle(live);
        Ok(())
    }

    async fn unsealed(&self, vault: &VaultSetup) -> Result<(), ScenarioError> {
        let change = format!("{HOST}: renewed");
        self.report.begin("vault unsealed", change, Counts::Losses);
        vault.vault().unseal();
        self.probe.waits_for_secret(HOST).await?;
        let issued = vault.acme().issue(HOST).await?;
        let live = self.certificate_live(vault, HOST, &issued, true).await?;
        self.marathon.scale(WEB, FEW).await?;
        self.marathon.settled(WEB, FEW).await?;
        self.has_hosts(WEB_CLUSTER, FEW).await?;
        self.settle(live);
        Ok(())
    }

    async fn own_certificate(&self) -> Result<(), ScenarioError> {
        let change = "renewed, streams go on".to_owned();
        self.report.begin("own certificate", change, Counts::Losses);
        let cut = self.probe.connections_cut().await?;
        let before = self.probe.control_plane_certificate().await?;
        let started = Instant::now();
        while self.probe.control_plane_certificate().await? == before {
            if started.elapsed() >= self.probe.limit {
                self.settle(Live::Unseen(self.probe.limit));
                return Ok(());
            }
            self.pause_between_polls().await;
        }
        self.rest().await;
        self.unchanged_if(self.probe.connections_cut().await? == cut);
        Ok(())
    }

    /// Removes the first certificate of a domain again.
    async fn withdraw(&self, vault: &VaultSetup) -> Result<(), ScenarioError> {
        let shop = self.secure_target(vault, SHOP_HOST)?;
        // Whoever withdraws a certificate has seen that nobody uses it any more.
        self.traffic.end(&shop).await;
        vault.acme().forget(SHOP_HOST).await?;
        vault.acme().signal(self.probe.control_plane).await?;
        let gone = self.probe.first_refusal(fresh(shop)).await;
        if !gone {
            return Err(ScenarioError::InVain {
                what: "a certificate that left vault is not shown any more",
                within: self.probe.limit,
            });
        }
        Ok(())
    }

    /// Signals that `issued` is there; returns the time from then until the first handshake that shows
    /// it, with an answer of a task. With `counts` every request must succeed.
    async fn certificate_live(
        &self,
        vault: &VaultSetup,
        host: &str,
        issued: &Issued,
        counts: bool,
    ) -> Result<Live, ScenarioError> {
        let target = fresh(self.secure_target(vault, host)?);
        let traffic = counts.then_some(self.traffic);
        let signalled = Instant::now();
        let seen = self.probe.first_answer_of(target, traffic, |answer| {
            answered_by(answer).is_some()
                && answer.peer_certificate.as_deref() == Some(issued.der.as_slice())
        });
        let (seen, signal) = tokio::join!(seen, vault.acme().signal(self.probe.control_plane));
        signal?;
        Ok(match seen {
            Some(seen) => Live::After(vec![seen.duration_since(signalled)]),
            None => Live::Unseen(self.probe.limit),
        })
    }

    pub(in crate::scenario) fn secure_target(
        &self,
        vault: &VaultSetup,
        host: &str,
    ) -> Result<Target, ScenarioError> {
        let roots = vault.acme().root_pem();
        Ok(self.probe.secure_target(host, roots)?)
    }
}

/// A request whose connection is its own, and so shows the certificate of this moment.
fn fresh(target: Target) -> Target {
    Target {
        keep_alive: false,
        ..target
    }
}
