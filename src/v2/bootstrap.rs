//! The bootstrap of an old fleet: Envoys of the age of 1.5, which poll the v2 API.

/// Values of a bootstrap. Each is YAML already, on one line and without braces that could be taken
/// for a placeholder.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// The socket address of Envoy's admin port.
    pub admin: String,
    /// The refresh delay between an answer and the next poll.
    pub refresh_delay: String,
    /// The type of the cluster with the control planes.
    pub discovery_type: &'static str,
    /// The addresses of the control planes.
    pub control_planes: Vec<String>,
    /// Envoy's name for the control plane.
    pub cluster_name: String,
    /// TLS to the control plane; none for plaintext.
    pub tls: Option<BootstrapTls>,
}

/// TLS from Envoy to the control plane.
#[derive(Clone, Debug)]
pub struct BootstrapTls {
    /// File of the CA of the control plane's certificate.
    pub authority: String,
    /// Names of which the control plane's certificate must have one; the first is sent.
    pub names: Vec<String>,
    /// Files of Envoy's own certificate and key; none if it shows none. An Envoy of that age reads
    /// them once: a file of secrets is of no use to it.
    pub own: Option<(String, String)>,
}

/// Returns the bootstrap as YAML, for people to read and change.
pub fn yaml(bootstrap: &Bootstrap) -> String {
    let tls = bootstrap.tls.as_ref().map(tls_context).unwrap_or_default();
    let hosts = bootstrap.control_planes.iter();
    let hosts = hosts.map(|address| format!("        - {address}\n"));
    TEMPLATE
        .replace("{tls}", &tls)
        .replace("{admin}", &bootstrap.admin)
        .replace("{refresh_delay}", &bootstrap.refresh_delay)
        .replace("{type}", bootstrap.discovery_type)
        .replace("{hosts}", &hosts.collect::<String>())
        .replace("{cluster_name}", &bootstrap.cluster_name)
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
      # Further control planes are further hosts of this cluster (bootstrap --control-plane, once for
      # each).
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
      type: {type}
      connect_timeout: 5s
      lb_policy: ROUND_ROBIN
      http_protocol_options: {}
      hosts:
{hosts}      # Every application has a poll of its own, and over HTTP/1.1 every poll has a connection.
      circuit_breakers:
        thresholds:
          - max_connections: 100000
            max_pending_requests: 100000
            max_requests: 100000
{tls}"#;

fn tls_context(tls: &BootstrapTls) -> String {
    let own = tls.own.as_ref().map(|(certificate, key)| {
        OWN_CERTIFICATE
            .replace("{certificate}", certificate)
            .replace("{key}", key)
    });
    let first = tls.names.first().map(String::as_str);
    TLS.replace("{own}", &own.unwrap_or_default())
        .replace("{ca}", &tls.authority)
        .replace("{name}", first.unwrap_or_default())
        .replace("{names}", &tls.names.join(", "))
}

const TLS: &str = r"      tls_context:
        sni: {name}
        common_tls_context:
          validation_context:
            trusted_ca: { filename: {ca} }
            # Without this every certificate of the CA would do.
            verify_subject_alt_name: [{names}]
{own}";

const OWN_CERTIFICATE: &str = r"          tls_certificates:
            - certificate_chain: { filename: {certificate} }
              private_key: { filename: {key} }
";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::commands::bootstrap::{ClientFiles, Config, ControlPlane, Tls, Transport, yaml};

    /// The defaults of an old Envoy.
    fn old() -> Config {
        Config {
            transport: Transport::RestV2,
            ..Config::default()
        }
    }

    fn lines(written: &str) -> Vec<&str> {
        let lines = written.lines();
        let lines = lines.filter(|line| !line.trim_start().starts_with('#'));
        lines.filter(|line| !line.is_empty()).collect()
    }

    #[test]
    fn an_old_envoy_is_led_here_in_the_words_of_its_time() {
        let written = yaml(&Config {
            refresh_delay: Duration::from_secs(30),
            ..old()
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
            yaml(&Config {
                tls: Some(Tls {
                    authority: "/etc/ca {name}.pem".into(),
                    authority_secrets: None,
                    names: vec!["xds.test".to_owned(), "10.0.0.7".to_owned()],
                    client,
                }),
                ..old()
            })
        };
        let written = with(Some(ClientFiles {
            certificate: "/etc/own.pem".into(),
            key: "/etc/own.key".into(),
            secrets: None,
        }));
        let plain = yaml(&old());
        let added = written.strip_prefix(plain.as_str()).unwrap();
        assert_eq!(
            lines(added),
            [
                "      tls_context:",
                r#"        sni: "xds.test""#,
                "        common_tls_context:",
                "          validation_context:",
                r#"            trusted_ca: { filename: "/etc/ca \u007bname}.pem" }"#,
                r#"            verify_subject_alt_name: ["xds.test", "10.0.0.7"]"#,
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
        let quoted = serde_json::Value::from(path.as_str()).to_string();
        let quoted = quoted.replace('{', r"\u007b");
        let written = yaml(&Config {
            control_planes: vec![ControlPlane::Pipe(path.clone().into())],
            ..old()
        });
        assert!(written.contains(&format!("- pipe: {{ path: {quoted} }}\n")));
    }
}
