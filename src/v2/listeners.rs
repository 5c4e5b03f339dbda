//! The listeners `http` and `https`, from certificates and settings.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::config::Config;
use super::json::{address, config_source, resource};
use super::routes::V2Table;
use crate::intent::server_names::PresentedCertificate;
use crate::snapshot::{Kind, Resource};
use crate::state::certificate::Certificate;

/// The http listener.
pub(super) fn http(config: &Config) -> Resource {
    let chain = json!({ "filters": [connection_manager(config, V2Table::Http)] });
    listener(V2Table::Http, config.http_listen, vec![chain])
}

/// The https listener, with inlined keys, since Envoy of that age fetches no secrets. None without
/// certificates: Envoy rejects a listener without filter chains.
pub(super) fn https(
    config: &Config,
    presented: &[PresentedCertificate],
    certificates: &BTreeMap<&str, &Arc<Certificate>>,
) -> Option<Resource> {
    let manager = connection_manager(config, V2Table::Https);
    let chains = presented.iter().filter_map(|one| {
        let certificate = certificates.get(one.certificate.as_str())?;
        Some(json!({
            "filter_chain_match": { "sni_domains": one.server_names },
            "tls_context": { "common_tls_context": {
                "tls_certificates": [{
                    "certificate_chain": { "inline_string": certificate.chain_pem },
                    "private_key": { "inline_string": certificate.key_pem.expose() },
                }],
                // Envoy joins the list with commas, so this is a list of two.
                "alpn_protocols": ["h2,http/1.1"],
            } },
            "filters": [manager.clone()],
        }))
    });
    let chains: Vec<Value> = chains.collect();
    (!chains.is_empty()).then(|| listener(V2Table::Https, config.https_listen, chains))
}

/// Returns true if a listener holds private keys, so that it must not go to every peer.
pub(super) fn holds_keys(listener: &Resource) -> bool {
    **listener.name() == *V2Table::Https.name()
}

fn listener(table: V2Table, listen: SocketAddr, chains: Vec<Value>) -> Resource {
    let listener = json!({
        "name": table.name(),
        "address": address(listen),
        "filter_chains": chains,
    });
    Resource::fixed(table.name().into(), resource(Kind::Listener, listener))
}

/// The HTTP connection manager, with its routes from the table of that name. Access logs are the
/// original's: files in the folder in which Envoy was started.
fn connection_manager(config: &Config, table: V2Table) -> Value {
    let log = |path: &str| json!({ "name": "envoy.file_access_log", "config": { "path": path } });
    let mut manager = json!({
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
    });
    // Envoy 1.5 does not know it, and refuses a listener with it.
    if config.trusted_hops > 0
        && let Some(fields) = manager.as_object_mut()
    {
        fields.insert(
            "xff_num_trusted_hops".to_owned(),
            config.trusted_hops.into(),
        );
    }
    json!({ "name": "envoy.http_connection_manager", "config": manager })
}
