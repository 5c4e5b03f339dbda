//! The acts around Vault: a certificate that is new, one that is exchanged, a Vault that is sealed,
//! the daemon's own certificate.

use std::time::Duration;

use sim::acme::Issued;
use sim::load::Target;
use tokio::time::Instant;

use crate::commands::demo::edge::answered_by;
use crate::commands::demo::stage::Vaulted;
use crate::commands::demo::step::{Counts, Live};
use crate::commands::demo::story::{
    FEW, HOST, SHOP_HOST, Story, StoryError, Times, WEB, WEB_CLUSTER,
};

/// How often a certificate is exchanged in a row.
const EXCHANGES: usize = 3;

impl Story<'_> {
    /// Every act around Vault; after it all is as it was before.
    pub(in crate::commands::demo) async fn certificates(
        &self,
        vault: &Vaulted,
        pause: Duration,
    ) -> Result<(), StoryError> {
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

    async fn first_certificate(&self, vault: &Vaulted) -> Result<(), StoryError> {
        let change = format!("{SHOP_HOST}: its first");
        self.board.begin("certificate", change, Counts::Losses);
        self.edge.waits(&[WEB_CLUSTER]).await?;
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

    async fn exchange(&self, vault: &Vaulted) -> Result<(), StoryError> {
        let change = format!("{HOST}: renewed, {EXCHANGES} times");
        self.board.begin("renewal", change, Counts::Losses);
        let mut times = Times::default();
        for _ in 0..EXCHANGES {
            self.edge.waits_for_secret(HOST).await?;
            let issued = vault.acme().issue(HOST).await?;
            let live = self.certificate_live(vault, HOST, &issued, true);
            times.add(live.await?);
        }
        self.settle(times.live());
        Ok(())
    }

    async fn sealed(&self, vault: &Vaulted) -> Result<(), StoryError> {
        let more = FEW + 1;
        let change = format!("{WEB} {FEW} → {more} meanwhile");
        self.board.begin("vault sealed", change, Counts::Fully);
        vault.vault().seal();
        let asked = vault.vault().requests().len();
        vault.acme().signal(self.edge.daemon).await?;
        let refused = || vault.vault().requests().len() > asked;
        self.until("vault has refused the daemon", refused).await?;
        self.edge.waits(&[WEB_CLUSTER]).await?;
        let scale = async { Ok(self.marathon.scale(WEB, more).await.map(|_| ())?) };
        let live = self.arrivals(WEB, "/", 1, Some(self.traffic), scale);
        let live = live.await?;
        self.settle(live);
        Ok(())
    }

    async fn unsealed(&self, vault: &Vaulted) -> Result<(), StoryError> {
        let change = format!("{HOST}: renewed");
        self.board.begin("vault unsealed", change, Counts::Losses);
        vault.vault().unseal();
        self.edge.waits_for_secret(HOST).await?;
        let issued = vault.acme().issue(HOST).await?;
        let live = self.certificate_live(vault, HOST, &issued, true).await?;
        self.marathon.scale(WEB, FEW).await?;
        self.marathon.settled(WEB, FEW).await?;
        self.has_hosts(WEB_CLUSTER, FEW).await?;
        self.settle(live);
        Ok(())
    }

    async fn own_certificate(&self) -> Result<(), StoryError> {
        let change = "renewed, streams go on".to_owned();
        self.board.begin("own certificate", change, Counts::Losses);
        let cut = self.edge.connections_cut().await?;
        let before = self.edge.daemons_certificate().await?;
        let started = Instant::now();
        while self.edge.daemons_certificate().await? == before {
            if started.elapsed() >= self.edge.limit {
                self.settle(Live::Unseen(self.edge.limit));
                return Ok(());
            }
            self.look_again().await;
        }
        self.rest().await;
        self.unchanged_if(self.edge.connections_cut().await? == cut);
        Ok(())
    }

    /// Takes the certificate away again that was the first for its domain.
    async fn withdraw(&self, vault: &Vaulted) -> Result<(), StoryError> {
        let shop = self.secure_target(vault, SHOP_HOST)?;
        // Whoever withdraws a certificate has seen that nobody uses it any more.
        self.traffic.end(&shop).await;
        vault.acme().forget(SHOP_HOST).await?;
        vault.acme().signal(self.edge.daemon).await?;
        let gone = self.edge.first_refusal(fresh(shop)).await;
        if !gone {
            return Err(StoryError::InVain {
                what: "a certificate that left vault is not shown any more",
                within: self.edge.limit,
            });
        }
        Ok(())
    }

    // What these acts consist of

    /// Signals that `issued` is there: how long after that a first handshake shows it, with an
    /// answer of a task. `counts` says whether every request must succeed.
    async fn certificate_live(
        &self,
        vault: &Vaulted,
        host: &str,
        issued: &Issued,
        counts: bool,
    ) -> Result<Live, StoryError> {
        let target = fresh(self.secure_target(vault, host)?);
        let traffic = counts.then_some(self.traffic);
        let signalled = Instant::now();
        let seen = self.edge.first_answer_of(target, traffic, |answer| {
            answered_by(answer).is_some()
                && answer.peer_certificate.as_deref() == Some(issued.der.as_slice())
        });
        let (seen, signal) = tokio::join!(seen, vault.acme().signal(self.edge.daemon));
        signal?;
        Ok(match seen {
            Some(seen) => Live::After(vec![seen.duration_since(signalled)]),
            None => Live::Unseen(self.edge.limit),
        })
    }

    pub(super) fn secure_target(&self, vault: &Vaulted, host: &str) -> Result<Target, StoryError> {
        let roots = vault.acme().root_pem();
        Ok(self.edge.secure_target(host, roots)?)
    }
}

/// A request whose connection is its own, and so shows the certificate of this moment.
fn fresh(target: Target) -> Target {
    Target {
        keep_alive: false,
        ..target
    }
}
