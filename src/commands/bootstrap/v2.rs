//! The bootstrap of an old fleet: Envoy of the years of 1.5, which polls the v2 API.

use std::path::Path;

use super::{Config, Tls, control_plane, seconds, socket_address, text};

/// The bootstrap for `config`, as YAML: see [`yaml`](super::yaml). An Envoy of that age reads its
/// certificate once: a file of secrets is of no use to it.
pub(super) fn yaml(config: &Config) -> String {
    let tls = config.tls.as_ref().map(tls_context).unwrap_or_default();
    TEMPLATE
        .replace("{tls}", &tls)
        .replace("{admin}", &socket_address(config.envoy_admin))
        .replace("{refresh_delay}", &text(&seconds(config.refresh_delay)))
        .replace("{control_plane}", &control_plane(&config.control_plane))
        .replace("{cluster_name}", &text(config.cluster_name.as_ref()))
}

const TEMPLATE: &str = r#"# The bootstrap of an Envoy that polls the v2 API (the control plane has to be told XDS_V2=true): where
# its control plane is. All else comes from there.
#
#   envoy -c bootstrap.yaml --service-node "$(hostname)" --service-cluster edge
#
# The node is left to the command line, so that one file serves a fleet. Give every Envoy a node id
# of its own: what the control plane knows of an Envoy (accepted, refused) it knows by this id.

admin:
  access_log_path: /dev/null
  # Whoever reaches this port can stop Envoy and read its configuration: keep it on loopback.
  address:
    socket_address: {admin}

dynamic_resources:
  cds_config:
    api_config_source:
      api_type: REST
      # Further control planes are further hosts of this cluster.
      cluster_names: [{cluster_name}]
      # The rest between an answer and the next poll is this plus a random part of this. Every poll is
      # answered, also when nothing is new: this is how often this Envoy reads all of its clusters.
      refresh_delay: {refresh_delay}
  lds_config:
    api_config_source:
      api_type: REST
      cluster_names: [{cluster_name}]
      refresh_delay: {refresh_delay}

static_resources:
  clusters:
    - name: {cluster_name}
      type: STATIC
      connect_timeout: 5s
      lb_policy: ROUND_ROBIN
      http_protocol_options: {}
      hosts:
        - {control_plane}
      # Every application has a poll of its own, and over HTTP/1.1 every poll has a connection.
      circuit_breakers:
        thresholds:
          - max_connections: 100000
            max_pending_requests: 100000
            max_requests: 100000
{tls}"#;

fn tls_context(tls: &Tls) -> String {
    let path = |path: &Path| text(&path.to_string_lossy());
    let own = tls.client.as_ref().map(|own| {
        OWN_CERTIFICATE
            .replace("{certificate}", &path(&own.certificate))
            .replace("{key}", &path(&own.key))
    });
    TLS.replace("{own}", &own.unwrap_or_default())
        .replace("{ca}", &path(&tls.authority))
        .replace("{name}", &text(&tls.name))
}

const TLS: &str = r"      tls_context:
        sni: {name}
        common_tls_context:
          validation_context:
            trusted_ca: { filename: {ca} }
            # Without this every certificate of the CA would do.
            verify_subject_alt_name: [{name}]
{own}";

const OWN_CERTIFICATE: &str = r"          tls_certificates:
            - certificate_chain: { filename: {certificate} }
              private_key: { filename: {key} }
";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{ClientFiles, Transport, yaml};
    use super::*;
    use crate::settings::XdsListen;

    fn lines(written: &str) -> Vec<&str> {
        let lines = written.lines();
        let lines = lines.filter(|line| !line.trim_start().starts_with('#'));
        lines.filter(|line| !line.is_empty()).collect()
    }

    #[test]
    fn an_old_envoy_is_led_here_in_the_words_of_its_time() {
        let written = yaml(&Config {
            transport: Transport::RestV2,
            refresh_delay: Duration::from_secs(30),
            ..Config::default()
        });
        assert_eq!(
            lines(&written),
            lines(
                r#"
admin:
  access_log_path: /dev/null
  address:
    socket_address: { address: "127.0.0.1", port_value: 9901 }
dynamic_resources:
  cds_config:
    api_config_source:
      api_type: REST
      cluster_names: ["xds_cluster"]
      refresh_delay: "30s"
  lds_config:
    api_config_source:
      api_type: REST
      cluster_names: ["xds_cluster"]
      refresh_delay: "30s"
static_resources:
  clusters:
    - name: "xds_cluster"
      type: STATIC
      connect_timeout: 5s
      lb_policy: ROUND_ROBIN
      http_protocol_options: {}
      hosts:
        - socket_address: { address: "127.0.0.1", port_value: 5000 }
      circuit_breakers:
        thresholds:
          - max_connections: 100000
            max_pending_requests: 100000
            max_requests: 100000
"#
            )
        );
    }

    #[test]
    fn over_tls_the_control_plane_must_have_its_name_and_not_only_its_ca() {
        let with = |client| {
            super::yaml(&Config {
                tls: Some(Tls {
                    authority: "/etc/ca {name}.pem".into(),
                    name: "xds.test".to_owned(),
                    client,
                }),
                ..Config::default()
            })
        };
        let written = with(Some(ClientFiles {
            certificate: "/etc/own.pem".into(),
            key: "/etc/own.key".into(),
            secrets: None,
        }));
        let plain = super::yaml(&Config::default());
        let added = written.strip_prefix(plain.as_str()).unwrap();
        assert_eq!(
            lines(added),
            [
                "      tls_context:",
                r#"        sni: "xds.test""#,
                "        common_tls_context:",
                "          validation_context:",
                r#"            trusted_ca: { filename: "/etc/ca \u007bname}.pem" }"#,
                r#"            verify_subject_alt_name: ["xds.test"]"#,
                "          tls_certificates:",
                r#"            - certificate_chain: { filename: "/etc/own.pem" }"#,
                r#"              private_key: { filename: "/etc/own.key" }"#,
            ]
        );
        assert!(!with(None).contains("tls_certificates"));
    }

    #[test]
    fn a_path_cannot_break_out_of_its_line() {
        let path = "a\"]\n# {admin} {tls}\u{7}é".to_owned();
        let written = super::yaml(&Config {
            control_plane: XdsListen::Unix(path.clone().into()),
            ..Config::default()
        });
        assert!(written.contains(&format!("- pipe: {{ path: {} }}\n", text(&path))));
    }
}
