//! The port that answers ACME challenges.

use crate::state::app::AppId;

/// The port whose tasks answer HTTP-01 challenges ([RFC
/// 8555](https://www.rfc-editor.org/rfc/rfc8555#section-8.3), section 8.3) for every host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmePort {
    app: AppId,
    index: usize,
}

impl AcmePort {
    /// The port at `index` of an app, which is named with or without its leading slash. None
    /// if the name is empty.
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

    /// True if it is this port of this app.
    pub fn is(&self, app: &AppId, index: usize) -> bool {
        self.app == *app && self.index == index
    }
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
}
