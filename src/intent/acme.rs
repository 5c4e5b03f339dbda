//! ACME: the port that answers challenges, and the label by which apps ask for certificates.

use super::host;
use crate::state::app::AppId;

/// What marathon-acme's labels begin with; there is no setting for it.
pub(super) const LABEL_PREFIX: &str = "MARATHON_ACME";

/// What their names end with.
pub(super) const LABEL_NAME: &str = "DOMAIN";

/// The label by which the port at `index` asks for certificates: `MARATHON_ACME_0_DOMAIN`.
pub fn acme_label(index: usize) -> String {
    format!("{LABEL_PREFIX}_{index}_{LABEL_NAME}")
}

/// The port whose tasks answer ACME challenges for every host: marathon-acme's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmePort {
    app: AppId,
    index: usize,
}

impl AcmePort {
    /// The port at `index` of an app, which is named with or without its leading slash. None
    /// without a name.
    pub fn new(app: &str, index: usize) -> Option<Self> {
        let path = app.trim().trim_matches('/');
        (!path.is_empty()).then(|| Self {
            app: format!("/{path}").as_str().into(),
            index,
        })
    }

    /// Its app.
    pub fn app(&self) -> &AppId {
        &self.app
    }

    /// Its position in the app's definition.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether it is this port of this app.
    pub fn is(&self, app: &AppId, index: usize) -> bool {
        self.app == *app && self.index == index
    }
}

/// A host that can get a certificate over HTTP-01, normalised; or why it cannot, and what to do.
pub(super) fn domain(text: &str) -> Result<String, (String, &'static str)> {
    let domain = host::normalised(text).map_err(|why| {
        (
            format!("no certificate can be had for {text:?}: {why}"),
            "write names as in www.example.com, with commas between them",
        )
    })?;
    // RFC 8555, 7.1.3 and Let's Encrypt's rule: a wildcard takes a DNS challenge.
    if domain.starts_with('*') {
        return Err((
            format!("an HTTP-01 challenge cannot validate the wildcard {text:?}"),
            "list the names one by one, or get the wildcard's certificate in another way",
        ));
    }
    Ok(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_named_with_or_without_its_slash() {
        for name in ["infra/acme", "/infra/acme", "/infra/acme/", " infra/acme "] {
            let port = AcmePort::new(name, 1).unwrap();
            assert!(port.is(&"/infra/acme".into(), 1), "{name}");
            assert!(!port.is(&"/infra/acme".into(), 0));
            assert!(!port.is(&"/acme".into(), 1));
        }
        for name in ["", " ", "/"] {
            assert_eq!(AcmePort::new(name, 0), None);
        }
    }

    #[test]
    fn a_domain_is_a_host_and_no_wildcard() {
        assert_eq!(domain("A.test.").as_deref(), Ok("a.test"));
        for text in ["*", "*.a.test"] {
            assert!(domain(text).unwrap_err().0.contains("wildcard"), "{text}");
        }
        assert!(domain("a..test").unwrap_err().0.contains("empty"));
    }
}
