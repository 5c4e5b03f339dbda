//! What an operator does about a certificate of the xDS port that Vault does not issue, or not well.

use super::{RenewalFailure, ends_after_its_authority};
use crate::vault::config::ServerCertificate;
use crate::vault::issue::BadIssue;
use crate::vault::remedy;

/// The remedy for a failure to get a certificate.
pub(super) fn of(failure: &RenewalFailure, asked: &ServerCertificate) -> String {
    let role = format!("{}/roles/{}", asked.mount, asked.role);
    let error = match failure {
        RenewalFailure::Bad(bad) => return of_bad(bad, &role),
        RenewalFailure::Vault(error) => error,
    };
    let says = |text| error.refused().is_some_and(|texts| texts.say(text));
    if error.denied() {
        let ServerCertificate { mount, role, .. } = asked;
        format!(
            "let the token's policy update {mount}/issue/{role}, as vault-policy.hcl does; if it \
             has the line, the token has ended"
        )
    } else if ends_after_its_authority(error) {
        format!("renew or replace the CA of the mount {} now", asked.mount)
    } else if says("unknown role") {
        format!("write {role}, or name another role with VAULT_PKI_ROLE")
    } else if says("no handler for route") || says("unsupported path") {
        format!(
            "mount a PKI engine at {}, or name another mount with VAULT_PKI_MOUNT",
            asked.mount
        )
    } else if says("not allowed") || says("is not a valid") {
        format!(
            "let {role} allow the names and addresses (VAULT_PKI_CN, VAULT_PKI_ALT_NAMES, \
             VAULT_PKI_IP_SANS), or ask for others"
        )
    } else if error.refused().is_some() || error.missing().is_some() {
        format!("correct {role}, or the settings that begin with VAULT_PKI_")
    } else {
        remedy::of(error).to_owned()
    }
}

fn of_bad(bad: &BadIssue, role: &str) -> String {
    match bad {
        BadIssue::Usage(_) => format!(
            "set server_flag=true in {role}; where it names ext_key_usage or key_usage, ServerAuth \
             and DigitalSignature have to be among them"
        ),
        BadIssue::Early { .. } => {
            "set the clocks of this machine and of Vault right; it is used once it is valid"
                .to_owned()
        }
        BadIssue::Names { .. } => {
            format!(
                "let {role} put the names and addresses that are asked for into its certificates \
                 (VAULT_PKI_CN, VAULT_PKI_ALT_NAMES, VAULT_PKI_IP_SANS)"
            )
        }
        BadIssue::Incomplete => {
            format!("see that VAULT_PKI_MOUNT is a PKI engine, and {role} one of its roles")
        }
        BadIssue::Identity(_) | BadIssue::Issuer => {
            format!("correct {role} and the CA of its mount")
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::vault::config::ClientAuthorities;
    use crate::vault::error::{Error, Missing, Texts};

    fn asked() -> ServerCertificate {
        ServerCertificate {
            mount: "pki-edge".into(),
            role: "proxies".into(),
            common_name: "xds.example".into(),
            alt_names: Vec::new(),
            ip_sans: Vec::new(),
            ttl: None,
            renew_at: 0.5,
            clients: ClientAuthorities::Nobody,
        }
    }

    #[test]
    fn a_remedy_names_the_mount_and_the_role_that_are_asked() {
        let texts = |text: &str| Texts::new([text.to_owned()], "");
        let refused = |text: &str| Error::Refused {
            status: StatusCode::BAD_REQUEST,
            texts: texts(text),
        };
        let denied = Error::Denied {
            texts: texts("permission denied"),
        };
        for (error, part) in [
            (denied, "update pki-edge/issue/proxies,"),
            (
                refused("cannot satisfy request: beyond the expiration of the CA"),
                "the CA of the mount pki-edge now",
            ),
            (
                refused("unknown role: proxies"),
                "write pki-edge/roles/proxies,",
            ),
            (
                refused("no handler for route"),
                "a PKI engine at pki-edge, or name another mount with VAULT_PKI_MOUNT",
            ),
            (
                refused("common name xds.example not allowed by this role"),
                "let pki-edge/roles/proxies allow",
            ),
            (refused("something else"), "correct pki-edge/roles/proxies,"),
            (
                Error::Missing(Missing::Nothing),
                "correct pki-edge/roles/proxies,",
            ),
        ] {
            let remedy = of(&error.into(), &asked());
            assert!(remedy.contains(part), "{part}: {remedy}");
        }
        let unknown_issuer = Error::Connect {
            host: "v:8200".to_owned(),
            why: "invalid peer certificate: UnknownIssuer".to_owned(),
        };
        assert!(of(&unknown_issuer.into(), &asked()).contains("VAULT_CACERT"));
        let empty = of(&BadIssue::Incomplete.into(), &asked());
        assert!(empty.contains("pki-edge/roles/proxies"), "{empty}");
    }
}
