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
