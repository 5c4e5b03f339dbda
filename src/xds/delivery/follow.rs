//! Endpoints follow the clusters that were sent.

use std::sync::Arc;

use super::Form;
use super::client::Client;
use super::content::{Content, Sent};
use crate::snapshot::Kind;

impl Client {
    /// A cluster that is new or changed waits for its endpoints once more, and Envoy does not
    /// always ask: they are sent again after it.
    pub(super) fn follow_clusters(&mut self, clusters: &Content) {
        match self.form {
            Form::Sotw | Form::Delta => {
                let Some(endpoints) = self.subscriptions.get_mut(&(Kind::Endpoint, None)) else {
                    return;
                };
                endpoints.follow(clusters.sent());
            }
            Form::Rest => {
                for sent in clusters.sent().iter() {
                    let key = (Kind::Endpoint, Some(sent.name.clone()));
                    if let Some(endpoints) = self.subscriptions.get_mut(&key) {
                        // It asks with a poll that has no version, and for a reason.
                        endpoints.repeats = 0;
                    }
                }
            }
        }
    }

    /// The same for a client that came back and said which endpoints it has when clusters were on
    /// their way already.
    pub(super) fn follow_clusters_under_way(&mut self) {
        let clusters = self.subscriptions.get(&(Kind::Cluster, None));
        let under_way = clusters.map(|clusters| clusters.under_way.iter());
        let sent: Vec<Arc<[Sent]>> = under_way
            .into_iter()
            .flatten()
            .map(|a| a.sent.clone())
            .collect();
        if let Some(endpoints) = self.subscriptions.get_mut(&(Kind::Endpoint, None)) {
            sent.iter().for_each(|sent| endpoints.follow(sent));
        }
    }
}
