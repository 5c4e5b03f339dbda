//! Certificates and settings -> the listeners `http` and `https` in the v2 API.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::Config;
use super::super::routes::Table;
use super::{address, config_source, resource};
use crate::intent::server_names::PresentedCertificate;
use crate::snapshot::{Kind, V2};
use crate::state::certificate::Certificate;

/// The plain listener.
pub(in super::super) fn http(config: &Arc<Config>) -> V2 {
    let config = config.clone();
    V2::new(move || {
        let chain = json!({ "filters": [connection_manager(&config, Table::Http)] });
        listener(Table::Http, config.http_listen, vec![chain])
    })
}

/// The listener with TLS. Its keys stand in it, since Envoy of that time fetches no secrets; what
/// the certificates are is therefore part of its version, told by `secrets`, the versions of the
/// secrets of v3.
pub(in super::super) fn https(
    config: &Arc<Config>,
    chains: Vec<(PresentedCertificate, Arc<Certificate>)>,
    secrets: &str,
) -> V2 {
    let config = config.clone();
    let form = V2::new(move || {
        let manager = connection_manager(&config, Table::Https);
        let chains = chains.iter().map(|(chain, certificate)| {
            json!({
                "filter_chain_match": { "sni_domains": chain.server_names },
                "tls_context": { "common_tls_context": {
                    "tls_certificates": [{
                        "certificate_chain": { "inline_string": certificate.chain_pem },
                        "private_key": { "inline_string": certificate.key_pem.expose() },
                    }],
                    // Envoy joins the list with commas, so this is a list of two.
                    "alpn_protocols": ["h2,http/1.1"],
                } },
                "filters": [manager.clone()],
            })
        });
        listener(Table::Https, config.https_listen, chains.collect())
    });
    form.beyond(secrets).holding_key()
}

fn listener(table: Table, listen: SocketAddr, chains: Vec<Value>) -> bytes::Bytes {
    let listener = json!({
        "name": table.name(),
        "address": address(listen),
        "filter_chains": chains,
    });
    resource(Kind::Listener, listener)
}

/// The filter that speaks HTTP, with its routes from the table of that name. The logs are the
/// original's: files in the folder in which Envoy was started.
fn connection_manager(config: &Config, table: Table) -> Value {
    let log = |path: &str| json!({ "name": "envoy.file_access_log", "config": { "path": path } });
    json!({
        "name": "envoy.http_connection_manager",
        "config": {
            "codec_type": "AUTO",
            "stat_prefix": table.name(),
            "rds": {
                "config_source": config_source(config, Kind::Route),
                "route_config_name": table.name(),
            },
            "http_filters": [{
                "name": "envoy.router",
                "config": { "upstream_log": [log("upstream.log")] },
            }],
            "access_log": [log("access.log")],
            "use_remote_address": true,
        },
    })
}
