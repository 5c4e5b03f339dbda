//! Remedies for failures of requests to Vault that do not depend on what was asked for.

use super::error::Error;

/// Remedy for a failure that passes by itself, as far as anybody knows.
const WAIT: &str = "none is needed if it passes";

/// Remedies for connections that cannot be opened, by a part of the cause as rustls and the
/// resolver word it. The first that is found counts.
const CONNECTIONS: [(&str, &str); 6] = [
    (
        "UnknownIssuer",
        "set VAULT_CACERT (or VAULT_CAPATH) to the CA of Vault's certificate",
    ),
    (
        "not valid for name",
        "set VAULT_TLS_SERVER_NAME to a name in Vault's certificate, or VAULT_ADDR to that name",
    ),
    (
        "NotValidForName",
        "set VAULT_TLS_SERVER_NAME to a name in Vault's certificate, or VAULT_ADDR to that name",
    ),
    (
        "invalid peer certificate",
        "exchange Vault's certificate; if its dates are right, this machine's clock is not",
    ),
    (
        "corrupt message",
        "what answers there speaks no TLS: let VAULT_ADDR begin with http:// if that is Vault",
    ),
    (
        "dns error",
        "check the host in VAULT_ADDR, and this machine's DNS",
    ),
];

/// The remedy for a failed request: that of its cause, or to wait.
pub(super) fn of(error: &Error) -> &'static str {
    match error {
        Error::Connect { why, .. } => {
            let found = CONNECTIONS.iter().find(|(part, _)| why.contains(part));
            found.map_or(WAIT, |(_, remedy)| remedy)
        }
        Error::Active { error, .. } => of(error),
        Error::File { .. } => "write the file again, readable for this daemon",
        Error::Sealed { .. } => "unseal Vault",
        Error::Limited { .. } => "raise Vault's rate limit for this daemon if this stays",
        Error::Slow { .. } => "see how busy Vault is; VAULT_CLIENT_TIMEOUT is the limit",
        Error::Tls(_)
        | Error::Request(_)
        | Error::Wrapping { .. }
        | Error::BrokenOff { .. }
        | Error::TooLarge { .. }
        | Error::Unreadable { .. }
        | Error::RedirectToPlain { .. }
        | Error::Redirect { .. }
        | Error::Denied { .. }
        | Error::Missing(_)
        | Error::Behind { .. }
        | Error::Refused { .. }
        | Error::Failing { .. } => WAIT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_remedy() {
        let connect = |why: &str| Error::Connect {
            host: "v:8200".to_owned(),
            why: why.to_owned(),
        };
        for (why, part) in [
            (
                "client error: invalid peer certificate: UnknownIssuer",
                "VAULT_CACERT",
            ),
            (
                "invalid peer certificate: NotValidForName",
                "VAULT_TLS_SERVER_NAME",
            ),
            (
                "invalid peer certificate: Expired",
                "exchange Vault's certificate",
            ),
            (
                "received corrupt message of type InvalidContentType",
                "http://",
            ),
            (
                "dns error: failed to lookup address information",
                "VAULT_ADDR",
            ),
            ("tcp connect error: Connection refused (os error 111)", WAIT),
        ] {
            assert!(of(&connect(why)).contains(part), "{why}");
            let active = Error::Active {
                host: "v:8200".to_owned(),
                error: Box::new(connect(why)),
            };
            assert!(of(&active).contains(part), "{why}");
        }
    }
}
