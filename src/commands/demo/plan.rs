//! The demo's environment: its Marathon, its Vault, and the lines that say how to try them by hand.

use std::path::Path;
use std::time::Duration;

use sim::marathon;
use sim::scenario::{ControlPlane, Environment, HELLO, HELLO_HOST, HOST, VaultPlan};

/// The Marathon of the demo: two instances, tasks that take a fifth of a second to start.
///
/// The end of a task is announced (`--enable_features task_killing`, as DC/OS has it): Envoy leaves
/// a task that ends, instead of having its idle connections closed, which on a busy machine crosses
/// requests that no policy may send twice (seen: 4 to 13 of 20,000 without).
pub fn marathon() -> marathon::Config {
    marathon::Config {
        task_step: Duration::from_millis(50),
        task_killing: true,
        ..marathon::Config::with_nodes(2)
    }
}

/// The Vault of the demo: marathon-acme has got two certificates before, and the daemon's own is
/// renewed often enough to be watched: every 6 seconds, 54 before its end.
pub fn vault() -> VaultPlan {
    VaultPlan {
        certificate_life: Duration::from_secs(60),
        renew_at: 0.1,
        domains: vec![HOST.to_owned(), HELLO_HOST.to_owned()],
        ..VaultPlan::default()
    }
}

/// The lines above the table: commands and addresses to try by hand, and the log of the daemon.
pub(super) fn heading<C: ControlPlane>(
    environment: &mut Environment<C>,
    script: bool,
    log: &Path,
) -> Vec<String> {
    let marathon = environment.marathon().urls().into_iter().next();
    let marathon = marathon.unwrap_or_default();
    let (edge, daemon) = (environment.http(), environment.admin());
    let envoy = environment.envoy().admin().address();
    let plain = marathon.trim_start_matches("http://");
    let mut lines = vec![
        "Marathon (simulated) → marathon-envoy → Envoy, all on this machine.".to_owned(),
        format!("  the edge   curl -H 'Host: {HOST}' http://{edge}/"),
    ];
    if let Some(vault) = environment.vault() {
        let secure = environment.https();
        lines.push(format!(
            "  with TLS   curl -k --connect-to ::{secure} https://{HOST}/"
        ));
        lines.push(format!(
            "  Vault      curl -k {}/v1/sys/health   (simulated)",
            vault.vault().url()
        ));
    }
    lines.push(format!("  Marathon   curl {marathon}/v2/apps"));
    if !script {
        let (app, body) = (HELLO, r#"{"instances":4}"#);
        lines.push(format!(
            "  scale      curl -X PUT {plain}/v2/apps{app} -d '{body}'"
        ));
        lines.push(format!(
            "  your app   curl -H 'Host: {HELLO_HOST}' http://{edge}/"
        ));
    }
    lines.extend([
        format!("  served     http://{daemon}/snapshot  /proxies  /metrics"),
        format!("  Envoy      http://{envoy}/"),
        format!("  the log    {}", log.display()),
        String::new(),
    ]);
    lines
}
