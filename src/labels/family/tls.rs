//! Labels for TLS: the redirect to https, and certificates.

use crate::intent::host;
use crate::labels::draft::{LabelText, ServiceDraft};
use crate::labels::label::{Family, Label, LabelPrefix, Support, ValueKind};
use crate::state::problem::quoted;

pub(crate) const FAMILY: Family = Family {
    title: "TLS",
    labels: &[
        Label::of_app(
            "REDIRECT_TO_HTTPS",
            ValueKind::Bool,
            Support::served(read_legacy_redirect),
            "the proof of concept's spelling, `true` exactly: the redirect for all ports of the app",
        )
        .with_prefix(LabelPrefix::None),
        Label::of_port(
            "REDIRECT_TO_HTTPS",
            ValueKind::Bool,
            Support::served(read_redirect),
            "`true` answers plain http with 301 to https; only with a host, and only if \
             there is an https listener: a certificate for any host",
        ),
        Label::of_port(
            "DOMAIN",
            ValueKind::List,
            Support::served(read_acme_domains),
            "host names, as in `VHOST`, for which marathon-acme gets certificates; no wildcards",
        )
        .with_prefix(LabelPrefix::MarathonAcme),
    ],
};

fn read_legacy_redirect(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    draft.route.redirect_to_https = (label.value == "true").then(|| label.origin());
}

fn read_redirect(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    let redirects = label.is_true() && draft.has_hosts(label);
    draft.route.redirect_to_https = redirects.then(|| label.origin());
}

fn read_acme_domains(label: LabelText<'_>, draft: &mut ServiceDraft<'_>) {
    let domains = draft.names(label, acme_domain);
    draft.route.acme_domains = Some(Box::new(label.asks_for(domains)));
}

/// A host that can get a certificate over HTTP-01, normalised; or the fault and its remedy.
fn acme_domain(text: &str) -> Result<String, (String, &'static str)> {
    let domain = host::normalised(text).map_err(|why| {
        (
            format!("no certificate can be had for {}: {why}", quoted(text)),
            "write names as in www.example.com, with commas between them",
        )
    })?;
    // RFC 8555, 7.1.3 and Let's Encrypt's rule: a wildcard takes a DNS challenge.
    if domain.starts_with('*') {
        return Err((
            format!(
                "an HTTP-01 challenge cannot validate the wildcard {}",
                quoted(text)
            ),
            "list the names one by one, or get the wildcard's certificate in another way",
        ));
    }
    Ok(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_a_host_and_no_wildcard() {
        assert_eq!(acme_domain("A.test.").as_deref(), Ok("a.test"));
        for text in ["*", "*.a.test"] {
            let (message, _) = acme_domain(text).unwrap_err();
            assert!(message.contains("wildcard"), "{text}");
        }
        assert!(acme_domain("a..test").unwrap_err().0.contains("empty"));
    }
}
