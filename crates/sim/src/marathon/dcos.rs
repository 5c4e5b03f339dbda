//! DC/OS around Marathon: logs service accounts in, and lets only those with a token through.

use std::collections::BTreeMap;

use data_encoding::BASE64URL_NOPAD;
use http::StatusCode;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::config::Dcos;
use super::http::{Request, Response};
use super::shared::Shared;

/// Path of the login service.
pub(super) const LOGIN: &str = "/acs/api/v1/auth/login";

/// The longest that a signed login may be good for; it is for one use.
const LONGEST_LOGIN_SECONDS: i64 = 300;

/// Counts of logins and of requests with tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logins {
    /// Those that brought a token.
    pub granted: u64,
    /// Those of somebody else, or not signed by the account's key.
    pub refused: u64,
    /// Those that the login service had no answer to.
    pub failed: u64,
    /// Requests with a token that has ended or was forgotten, or with none.
    pub unauthorized: u64,
}

/// The gate of Admin Router: the tokens that are let in.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Each token and its end.
    tokens: BTreeMap<String, Instant>,
    fails: bool,
    logins: Logins,
}

impl Gate {
    pub(super) fn forget(&mut self) {
        self.tokens.clear();
    }

    pub(super) fn fail(&mut self, fails: bool) {
        self.fails = fails;
    }

    pub(super) fn logins(&self) -> Logins {
        self.logins
    }
}

#[derive(Deserialize)]
struct Login {
    uid: String,
    token: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: String,
}

#[derive(Deserialize)]
struct Claims {
    uid: String,
    exp: i64,
}

/// Answers a request to the login service.
pub(super) fn log_in(shared: &Shared, account: &Dcos, request: &Request) -> Response {
    if request.method != "POST" {
        return Response::page(StatusCode::METHOD_NOT_ALLOWED, &request.path);
    }
    let now = wall_clock();
    let is_genuine = genuine(account, &request.body, now).is_some();
    shared.with(|world| {
        // Whoever waits for a login looks again.
        world.touch();
        let gate = &mut world.gate;
        if gate.fails {
            gate.logins.failed += 1;
            return Response::page(StatusCode::SERVICE_UNAVAILABLE, &request.path);
        }
        if !is_genuine {
            gate.logins.refused += 1;
            let body = json!({
                "title": "Unauthorized",
                "description": "Authentication failed: login token not accepted.",
                "code": "ERR_INVALID_CREDENTIALS",
            });
            return Response::json(StatusCode::UNAUTHORIZED, &body);
        }
        gate.logins.granted += 1;
        let token = token(account, now, gate.logins.granted);
        let end = Instant::now() + account.token_life;
        gate.tokens.insert(token.clone(), end);
        Response::json(StatusCode::OK, &json!({ "token": token }))
    })
}

/// The refusal of Admin Router for a request without a good token; none for one that has it.
pub(super) fn refusal(shared: &Shared, request: &Request) -> Option<Response> {
    let shown = request.header("authorization").unwrap_or_default();
    let shown = shown.strip_prefix("token=").unwrap_or_default();
    shared.with(|world| {
        let gate = &mut world.gate;
        let end = gate.tokens.get(shown);
        if end.is_some_and(|end| Instant::now() < *end) {
            return None;
        }
        gate.logins.unauthorized += 1;
        world.touch();
        let page = Response::page(StatusCode::UNAUTHORIZED, &request.path);
        Some(page.with("WWW-Authenticate", "acsjwt"))
    })
}

/// True if the body of a login is the account's own, and good at this time.
fn genuine(account: &Dcos, body: &[u8], now: i64) -> Option<()> {
    let login: Login = serde_json::from_slice(body).ok()?;
    let (signed, signature) = login.token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let decoded = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).ok();
    let header: Header = serde_json::from_slice(&decoded(header)?).ok()?;
    let claims: Claims = serde_json::from_slice(&decoded(claims)?).ok()?;
    let key = SubjectPublicKeyInfoDer::from_pem_slice(account.public_key_pem.as_bytes()).ok()?;
    let (_, key) = SubjectPublicKeyInfo::from_der(&key).ok()?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key.subject_public_key.data)
        .verify(signed.as_bytes(), &decoded(signature)?)
        .ok()?;
    let is_right = header.alg == "RS256"
        && header.typ == "JWT"
        && login.uid == account.uid
        && claims.uid == account.uid
        && (now + 1..=now + LONGEST_LOGIN_SECONDS).contains(&claims.exp);
    is_right.then_some(())
}

/// A token that says when it ends, as DC/OS's do, and that no other is equal to. Nobody but this
/// login service has to believe it, so its signature is just a number.
fn token(account: &Dcos, now: i64, number: u64) -> String {
    let life = i64::try_from(account.token_life.as_secs()).unwrap_or(i64::MAX);
    let claims = json!({ "uid": account.uid, "exp": now.saturating_add(life) });
    let parts = [
        json!({ "alg": "RS256", "typ": "JWT" }).to_string(),
        claims.to_string(),
        number.to_string(),
    ];
    parts
        .map(|part| BASE64URL_NOPAD.encode(part.as_bytes()))
        .join(".")
}

#[expect(
    clippy::disallowed_methods,
    reason = "logins and tokens end in wall time"
)]
fn wall_clock() -> i64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_1970.map_or(0, |elapsed| {
        elapsed.as_secs().try_into().unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ring::rand::SystemRandom;
    use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use serde_json::Value;

    use super::*;

    const NOW: i64 = 1_900_000_000;

    fn account() -> Dcos {
        Dcos {
            uid: "edge".to_owned(),
            public_key_pem: include_str!(
                "../../../../tests/certificates/service-account-public.pem"
            )
            .to_owned(),
            token_life: Duration::from_secs(60),
        }
    }

    const OWN: &str = include_str!("../../../../tests/certificates/service-account.pem");
    const OTHER: &str = include_str!("../../../../tests/certificates/service-account-other.pem");

    fn body(key: &str, uid: &str, header: &Value, claims: &Value) -> Vec<u8> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
        let encoded = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            signed.as_bytes(),
            &mut signature,
        )
        .unwrap();
        let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature));
        json!({ "uid": uid, "token": token })
            .to_string()
            .into_bytes()
    }

    #[test]
    fn only_the_account_itself_is_let_in() {
        let header = json!({ "alg": "RS256", "typ": "JWT" });
        let claims = json!({ "uid": "edge", "exp": NOW + 300 });
        let is_genuine = |body: &[u8]| genuine(&account(), body, NOW).is_some();
        assert!(is_genuine(&body(OWN, "edge", &header, &claims)));
        for (body, why) in [
            (body(OTHER, "edge", &header, &claims), "another key"),
            (body(OWN, "other", &header, &claims), "another account"),
            (
                body(
                    OWN,
                    "edge",
                    &json!({ "alg": "none", "typ": "JWT" }),
                    &claims,
                ),
                "no RS256",
            ),
            (
                body(
                    OWN,
                    "edge",
                    &header,
                    &json!({ "uid": "other", "exp": NOW + 1 }),
                ),
                "borrowed",
            ),
            (
                body(OWN, "edge", &header, &json!({ "uid": "edge", "exp": NOW })),
                "it has ended",
            ),
            (
                body(
                    OWN,
                    "edge",
                    &header,
                    &json!({ "uid": "edge", "exp": NOW + 301 }),
                ),
                "too long",
            ),
            (b"{}".to_vec(), "no login"),
            (
                json!({ "uid": "edge", "token": "a.b.c" })
                    .to_string()
                    .into_bytes(),
                "no token",
            ),
        ] {
            assert!(!is_genuine(&body), "{why}");
        }
    }
}
