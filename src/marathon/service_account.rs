//! A DC/OS service account: what its file says, the login that its key signs, and what comes back
//! (pure).
//!
//! <https://archive-docs.d2iq.com/mesosphere/dcos/2.0/security/oss/login/service-login/> has the
//! protocol: a JSON web token ([RFC 7519](https://www.rfc-editor.org/rfc/rfc7519)) that the account
//! signs with RS256 is exchanged for one that DC/OS signs.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use http::{HeaderValue, Uri};
use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::Signer;
use serde::{Deserialize, Serialize};

/// Lifetime of a signed login, in seconds. It is used at once and just once, but the two clocks may
/// differ by minutes.
const LOGIN_LIFE_SECONDS: i64 = 300;

/// Lifetime of a token that names none: DC/OS's default.
const DEFAULT_TOKEN_LIFE: Duration = Duration::from_secs(5 * 24 * 60 * 60);

/// The longest life that is believed. It keeps sums of times within their types; beyond it a token
/// is renewed early.
const LONGEST_TOKEN_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A service account, ready to log in. Its key shows in no `Debug` and in no error.
pub struct ServiceAccount {
    uid: String,
    endpoint: Uri,
    signer: Box<dyn Signer>,
}

/// The file, as `dcos security secrets create-sa-secret` writes it.
#[derive(Deserialize)]
struct AccountFile {
    uid: String,
    private_key: String,
    login_endpoint: String,
    scheme: Option<String>,
}

#[derive(Serialize)]
struct Header {
    alg: &'static str,
    typ: &'static str,
}

#[derive(Serialize)]
struct LoginClaims<'a> {
    uid: &'a str,
    exp: i64,
}

/// Body of the login request.
#[derive(Serialize)]
struct LoginBody<'a> {
    uid: &'a str,
    token: String,
}

impl ServiceAccount {
    /// Reads the text of a service account's file.
    ///
    /// # Errors
    ///
    /// The fault, in words that repeat nothing of the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        // The parser's own words quote what they did not expect.
        let file: AccountFile = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            if error.is_data() {
                format!(
                    "it lacks one of the texts uid, private_key and login_endpoint, or has it in \
                     another form (noticed at line {line}, column {column})"
                )
            } else {
                format!("it is not JSON (noticed at line {line}, column {column})")
            }
        })?;
        if file.scheme.is_some_and(|scheme| scheme != "RS256") {
            return Err("its scheme is not RS256, the only one that is supported".into());
        }
        if file.uid.is_empty() {
            return Err("its uid is empty".into());
        }
        Ok(Self {
            uid: file.uid,
            endpoint: endpoint(&file.login_endpoint)?,
            signer: signer(&file.private_key)?,
        })
    }

    /// Its name.
    pub(super) fn uid(&self) -> &str {
        &self.uid
    }

    /// The URL of the login.
    pub(super) fn endpoint(&self) -> &Uri {
        &self.endpoint
    }

    /// The body of a login, in JSON; `now` in seconds since 1970.
    ///
    /// # Errors
    ///
    /// When the key does not sign, which no input causes.
    pub(super) fn login(&self, now: i64) -> Result<String, String> {
        let header = Header {
            alg: "RS256",
            typ: "JWT",
        };
        let claims = LoginClaims {
            uid: &self.uid,
            exp: now.saturating_add(LOGIN_LIFE_SECONDS),
        };
        let signed = format!("{}.{}", part(&header)?, part(&claims)?);
        let signature = self.signer.sign(signed.as_bytes());
        let signature = signature.map_err(|_| "the key does not sign".to_owned())?;
        let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature));
        json(&LoginBody {
            uid: &self.uid,
            token,
        })
    }
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount")
            .field("uid", &self.uid)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// The login is good for a token to whoever reads it, so it travels encrypted, or not at all.
fn endpoint(text: &str) -> Result<Uri, String> {
    let uri: Uri = text
        .parse()
        .map_err(|_| "its login_endpoint is not a URL".to_owned())?;
    let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else {
        return Err("its login_endpoint names no host".into());
    };
    if authority.as_str().contains('@') {
        return Err("its login_endpoint holds credentials".into());
    }
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if is_loopback(host) => Ok(uri),
        Some("http") => Err(
            "its login_endpoint is plain http, where others could read the login; it must begin \
             with https://"
                .into(),
        ),
        Some(_) | None => Err("its login_endpoint does not begin with https://".into()),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// RSASSA-PKCS1-v1_5 with SHA-256, which TLS has too, is exactly what RS256 is
/// ([RFC 7518, 3.3](https://www.rfc-editor.org/rfc/rfc7518#section-3.3)).
fn signer(pem: &str) -> Result<Box<dyn Signer>, String> {
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| "its private_key is not a key in PEM form".to_owned())?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|_| {
        "its private_key is of no kind that can be used; RS256 takes an RSA key of 2048 bits or \
         more"
            .to_owned()
    })?;
    key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
        .ok_or_else(|| "its private_key is not an RSA key, which RS256 takes".to_owned())
}

fn part(value: &impl Serialize) -> Result<String, String> {
    Ok(BASE64URL_NOPAD.encode(json(value)?.as_bytes()))
}

fn json(value: &impl Serialize) -> Result<String, String> {
    serde_json::to_string(value).map_err(|error| error.to_string())
}

/// Result of a login: the token, as the value of `Authorization`, and its lifetime.
pub(super) struct LoginToken {
    pub header: HeaderValue,
    pub life: Duration,
}

/// The answer to a login.
#[derive(Deserialize)]
struct LoginAnswer {
    token: String,
}

/// The claims of a token that matter here.
#[derive(Deserialize)]
struct TokenClaims {
    exp: i64,
}

impl LoginToken {
    /// Reads the answer to a login; `now` in seconds since 1970. None when it holds no token.
    pub(super) fn parse(answer: &[u8], now: i64) -> Option<Self> {
        let answer: LoginAnswer = serde_json::from_slice(answer).ok()?;
        let header = token_header(TOKEN_PREFIX, &answer.token)?;
        Some(Self {
            header,
            life: life(&answer.token, now),
        })
    }
}

/// Prefix of the token in `Authorization`, as DC/OS wants it.
pub(super) const TOKEN_PREFIX: &str = "token=";

/// The value of `Authorization` for a token; none when it is not one word that a header can carry.
pub(super) fn token_header(prefix: &str, token: &str) -> Option<HeaderValue> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut header = HeaderValue::from_str(&format!("{prefix}{token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Lifetime of a token, from its `exp` when it is a JSON web token. It is not verified: who takes
/// the token does that, and this only says when to ask for the next one. One that has ended already
/// shows that the clocks differ, so that its `exp` says nothing here.
fn life(token: &str, now: i64) -> Duration {
    let exp = |token: &str| {
        let claims = token.split('.').nth(1)?;
        let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?;
        serde_json::from_slice::<TokenClaims>(&claims)
            .ok()
            .map(|claims| claims.exp)
    };
    let seconds = exp(token).and_then(|exp| u64::try_from(exp.saturating_sub(now)).ok());
    match seconds {
        Some(0) | None => DEFAULT_TOKEN_LIFE,
        Some(seconds) => Duration::from_secs(seconds).min(LONGEST_TOKEN_LIFE),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Made for the tests, and used for nothing else.
    const KEY: &str = include_str!("../../tests/certificates/service-account.pem");

    /// 2030-03-17.
    const NOW: i64 = 1_900_000_000;

    fn file() -> Value {
        json!({
            "uid": "edge",
            "private_key": KEY,
            "login_endpoint": "https://leader.mesos/acs/api/v1/auth/login",
            "scheme": "RS256",
        })
    }

    fn with(field: &str, value: Value) -> String {
        let mut file = file();
        file[field] = value;
        file.to_string()
    }

    fn refused(text: &str) -> String {
        ServiceAccount::parse(text).unwrap_err()
    }

    #[test]
    fn a_login_is_what_openssl_signs() {
        let account = ServiceAccount::parse(&file().to_string()).unwrap();
        let login: Value = serde_json::from_str(&account.login(NOW).unwrap()).unwrap();
        assert_eq!(login["uid"], "edge");
        let token = login["token"].as_str().unwrap();
        // {"alg":"RS256","typ":"JWT"}.{"uid":"edge","exp":1900000300}, and of this
        // openssl dgst -sha256 -sign tests/certificates/service-account.pem
        let expected = include_str!("../../tests/certificates/service-account.jwt");
        assert_eq!(token, expected.trim_end());
    }

    #[test]
    fn the_key_is_shown_nowhere() {
        let account = ServiceAccount::parse(&file().to_string()).unwrap();
        let line = KEY.lines().nth(1).unwrap();
        assert!(!format!("{account:?}").contains(line));
        let mut one_line = file().to_string();
        one_line.truncate(one_line.len() - 1);
        for text in [
            one_line,
            json!(KEY).to_string(),
            json!([KEY]).to_string(),
            with("uid", json!({ KEY: 1 })),
            with("scheme", json!(KEY)),
            with("login_endpoint", json!(KEY)),
            with("private_key", json!([KEY])),
            with("private_key", json!(KEY.replace("KEY", "CAKE"))),
        ] {
            let why = refused(&text);
            assert!(!why.contains(line) && !why.contains("PRIVATE"), "{why}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_says_what_is_wrong_with_it() {
        let ec = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let weak = include_str!("../../tests/certificates/rsa-1024.pem");
        for (text, expected) in [
            (
                "{".to_owned(),
                "it is not JSON (noticed at line 1, column 1)",
            ),
            ("{}".to_owned(), "it lacks one of the texts uid,"),
            (with("scheme", json!("HS256")), "its scheme is not RS256"),
            (with("uid", json!("")), "its uid is empty"),
            (
                with("login_endpoint", json!("/login")),
                "its login_endpoint names no host",
            ),
            (
                with("login_endpoint", json!("ftp://m/")),
                "its login_endpoint does not begin",
            ),
            (
                with("login_endpoint", json!("https://u:p@m/")),
                "its login_endpoint holds",
            ),
            (
                with("login_endpoint", json!("http://leader.mesos/")),
                "its login_endpoint is plain",
            ),
            (
                with("login_endpoint", json!("http://127.evil/")),
                "its login_endpoint is plain",
            ),
            (
                with("private_key", json!("")),
                "its private_key is not a key",
            ),
            (
                with("private_key", json!(ec)),
                "its private_key is not an RSA key",
            ),
            (
                with("private_key", json!(weak)),
                "its private_key is of no kind",
            ),
        ] {
            let why = refused(&text);
            assert!(why.starts_with(expected), "{why}");
        }
    }

    #[test]
    fn plain_http_is_for_loopback_alone() {
        for endpoint in [
            "http://127.0.0.1:1/login",
            "http://127.9.9.9/login",
            "http://[::1]:1/login",
            "http://LOCALHOST/login",
        ] {
            let text = with("login_endpoint", json!(endpoint));
            let account = ServiceAccount::parse(&text).unwrap();
            assert_eq!(account.endpoint(), &endpoint.parse::<Uri>().unwrap());
        }
    }

    #[test]
    fn a_scheme_that_is_not_named_is_rs256() {
        let text = with("scheme", Value::Null);
        assert!(ServiceAccount::parse(&text).is_ok());
    }

    fn token(claims: &Value) -> String {
        format!(
            "e30.{}.c2ln",
            BASE64URL_NOPAD.encode(claims.to_string().as_bytes())
        )
    }

    #[test]
    fn a_token_lives_as_long_as_it_says() {
        for (claims, life) in [
            (json!({ "exp": NOW + 3600 }), Duration::from_secs(3600)),
            (json!({ "exp": i64::MAX }), LONGEST_TOKEN_LIFE),
            // Our clock is ahead, or the answer is no token of that kind.
            (json!({ "exp": NOW }), DEFAULT_TOKEN_LIFE),
            (json!({ "exp": NOW - 1 }), DEFAULT_TOKEN_LIFE),
            (json!({ "exp": i64::MIN }), DEFAULT_TOKEN_LIFE),
            (json!({ "exp": "soon" }), DEFAULT_TOKEN_LIFE),
            (json!({}), DEFAULT_TOKEN_LIFE),
        ] {
            let answer = json!({ "token": token(&claims) }).to_string();
            assert_eq!(
                LoginToken::parse(answer.as_bytes(), NOW).unwrap().life,
                life,
                "{claims}"
            );
        }
        let opaque = LoginToken::parse(br#"{"token":"abc"}"#, NOW).unwrap();
        assert_eq!(opaque.life, Duration::from_secs(432_000));
        assert_eq!(opaque.header, "token=abc");
        assert!(opaque.header.is_sensitive());
    }

    #[test]
    fn an_answer_without_a_token_is_none() {
        for answer in [
            "",
            "{}",
            r#"{"token":""}"#,
            r#"{"token":"a b"}"#,
            r#"{"token":"a\r\nb"}"#,
        ] {
            assert!(
                LoginToken::parse(answer.as_bytes(), NOW).is_none(),
                "{answer}"
            );
        }
    }
}
