//! The connections of a simulated proxy: one for each held poll over HTTP/1.1, one for all over HTTP/2.

use std::sync::PoisonError;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::{Error, Place, Proxy};
use crate::port::Wire;

/// The connections of a proxy to its control plane.
#[derive(Default)]
pub(super) struct Connections {
    pub(super) idle: Vec<http1::SendRequest<Full<Bytes>>>,
    shared: Option<http2::SendRequest<Full<Bytes>>>,
    drivers: JoinSet<()>,
}

impl Proxy {
    pub(super) async fn http1(&self) -> Result<http1::SendRequest<Full<Bytes>>, Error> {
        loop {
            let idle = self.connections().idle.pop();
            match idle {
                Some(mut sender) => {
                    if sender.ready().await.is_ok() {
                        return Ok(sender);
                    }
                }
                None => break,
            }
        }
        let (sender, driver) = http1::handshake(TokioIo::new(self.connect().await?)).await?;
        self.drive(driver);
        Ok(sender)
    }

    pub(super) async fn http2(&self) -> Result<http2::SendRequest<Full<Bytes>>, Error> {
        let _one_at_a_time = self.connecting.lock().await;
        let shared = self.connections().shared.clone();
        if let Some(sender) = shared.filter(|sender| !sender.is_closed()) {
            return Ok(sender);
        }
        let io = TokioIo::new(self.connect().await?);
        let (sender, driver) = http2::Builder::new(TokioExecutor::new())
            .initial_max_send_streams(1_024)
            .handshake(io)
            .await?;
        self.drive(driver);
        self.connections().shared = Some(sender.clone());
        Ok(sender)
    }

    async fn connect(&self) -> Result<Box<dyn Wire>, Error> {
        Ok(match &self.place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(Error::Connect)?;
                stream.set_nodelay(true).map_err(Error::Connect)?;
                Box::new(stream)
            }
            Place::Tls {
                address,
                config,
                name,
            } => {
                let stream = TcpStream::connect(address).await.map_err(Error::Connect)?;
                stream.set_nodelay(true).map_err(Error::Connect)?;
                let connector = TlsConnector::from(config.clone());
                let secure = connector.connect(name.clone(), stream).await;
                Box::new(secure.map_err(Error::Connect)?)
            }
            Place::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(Error::Connect)?),
        })
    }

    fn drive(&self, driver: impl Future<Output = hyper::Result<()>> + Send + 'static) {
        let mut connections = self.connections();
        while connections.drivers.try_join_next().is_some() {}
        // How a connection ended is told by the polls on it.
        connections.drivers.spawn(async move {
            let _ = driver.await;
        });
    }

    pub(super) fn connections(&self) -> std::sync::MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
