//! Resources that the proxies of a node id have accepted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::grpc::Stream;
use super::proxies::Proxies;
use super::rest::Proxy;
use crate::snapshot::{Kind, Name, Version};

/// One proxy, whose accepted resources can be looked up.
pub struct GivenProxy(Client);

enum Client {
    Stream(Arc<Stream>),
    Polls(Arc<Proxy>),
}

impl GivenProxy {
    /// Address of the proxy; `None` over a Unix socket.
    pub fn peer(&self) -> Option<IpAddr> {
        match &self.0 {
            Client::Stream(stream) => stream.peer.address(),
            Client::Polls(proxy) => proxy.id.peer,
        }
    }

    /// Transport of the proxy.
    pub fn transport(&self) -> &'static str {
        match &self.0 {
            Client::Stream(stream) => stream.transport.as_str(),
            Client::Polls(_) => "rest",
        }
    }

    /// Versions of the accepted resources, by kind and name.
    pub fn versions(&self) -> BTreeMap<Kind, BTreeMap<Name, Version>> {
        let accepted = match &self.0 {
            Client::Stream(stream) => stream.delivery().accepted(),
            Client::Polls(proxy) => proxy.state().client.accepted(),
        };
        let kinds = accepted.into_iter().map(|(kind, heads)| {
            let heads = heads.into_iter();
            let versions = heads.map(|(name, head)| (name, head.version()));
            (kind, versions.collect())
        });
        kinds.collect()
    }
}

impl Proxies {
    /// The proxies with this node id.
    pub fn given(&self, node: &str) -> Vec<GivenProxy> {
        let streams: Vec<_> = self.streams().values().cloned().collect();
        let streams = streams.into_iter().filter(|stream| *stream.node() == *node);
        let mut given: Vec<GivenProxy> =
            streams.map(|one| GivenProxy(Client::Stream(one))).collect();
        let proxies: Vec<_> = self.by_id().values().cloned().collect();
        let proxies = proxies.into_iter().filter(|proxy| *proxy.id.node == *node);
        given.extend(proxies.map(|proxy| GivenProxy(Client::Polls(proxy))));
        given
    }
}
