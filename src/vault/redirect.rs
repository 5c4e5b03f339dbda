//! Redirects of Vault's standbys: the target, and the rules for following it.

use bytes::Bytes;
use http::{Response, StatusCode, Uri};

use super::error::Error;
use crate::net::redirect::{authority, is_redirect, leaves_tls, location};

/// The target of a redirect that may be followed; none if the answer is no redirect.
pub(super) fn target(asked: &Uri, response: &Response<Bytes>) -> Result<Option<Uri>, Error> {
    if !is_redirect(response.status()) {
        return Ok(None);
    }
    let host = authority(asked);
    let Some(target) = location(response.headers(), None) else {
        return Err(Error::Redirect {
            host,
            target: "an address that is no URL".to_owned(),
            remedy: "check api_addr of Vault's nodes",
        });
    };
    // The two that keep method and body; a standby writes the first.
    if !matches!(
        response.status(),
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
    ) {
        return Err(Error::Redirect {
            host,
            target: authority(&target),
            remedy: "set VAULT_ADDR to the target if that is Vault",
        });
    }
    if leaves_tls(asked, &target) {
        return Err(Error::RedirectToPlain {
            host,
            target: authority(&target),
        });
    }
    Ok(Some(target))
}
