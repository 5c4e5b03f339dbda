//! A request as Vault sees it once HTTP is done with it, and its answers with their JSON.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use rustls::pki_types::CertificateDer;
use serde_json::{Map, Value, json};

/// The client certificate that came with a connection, and what was sent to link it to a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// DER, the client's own first; never empty in practice, and nobody if it is.
    pub chain: Vec<CertificateDer<'static>>,
}

/// An operation on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    /// POST and PUT, which Vault takes for the same.
    Write,
    Delete,
}

/// One request. It holds a token, and so has no `Debug`.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) operation: Operation,
    /// Without `/v1/`.
    pub(super) path: String,
    pub(super) token: Option<String>,
    /// `X-Vault-Wrap-TTL`, as sent.
    pub(super) wrap_ttl: Option<String>,
    pub(super) body: Map<String, Value>,
    pub(super) peer: Option<Peer>,
}

impl Request {
    /// Reads an HTTP request.
    ///
    /// # Errors
    /// What Vault answers where it is none.
    pub(super) fn read(
        request: &http::Request<Bytes>,
        peer: Option<Peer>,
    ) -> Result<Self, Refusal> {
        let Some(path) = request.uri().path().strip_prefix("/v1/") else {
            return Err(Refusal::plain(StatusCode::NOT_FOUND));
        };
        let path = percent_encoding::percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "path is not UTF-8"))?
            .into_owned();
        let operation = match *request.method() {
            Method::GET | Method::HEAD => Operation::Read,
            Method::POST | Method::PUT => Operation::Write,
            Method::DELETE => Operation::Delete,
            _ => return Err(Refusal::plain(StatusCode::METHOD_NOT_ALLOWED)),
        };
        let body = match operation {
            Operation::Write if !request.body().is_empty() => {
                serde_json::from_slice(request.body())
                    .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "error parsing JSON"))?
            }
            Operation::Write | Operation::Read | Operation::Delete => Map::new(),
        };
        let headers = request.headers();
        Ok(Self {
            operation,
            path,
            token: token(headers),
            wrap_ttl: text(headers, "x-vault-wrap-ttl"),
            body,
            peer,
        })
    }

    /// A field of the body.
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        self.body.get(name).filter(|value| !value.is_null())
    }

    /// A text of the body; numbers and truths count as texts, as Vault's fields take them.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.field(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

/// The token of a request.
pub(super) fn token(headers: &HeaderMap) -> Option<String> {
    text(headers, "x-vault-token")
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    (!value.is_empty()).then(|| value.to_owned())
}

/// The answer to a request that is not refused: perhaps a secret, and so without `Debug`.
#[derive(Clone)]
pub(super) enum Reply {
    /// Vault's envelope around data or a token.
    Secret(Box<Secret>),
    /// 204.
    Done,
    /// JSON without the envelope: health and its like.
    Bare(StatusCode, Value),
    /// Anything else, with its content type.
    Raw(StatusCode, &'static str, Bytes),
}

/// The envelope that most answers have.
#[derive(Clone, Default)]
pub(super) struct Secret {
    /// Of a 200 unless said otherwise: a deleted version is a 404 with data.
    pub(super) status: StatusCode,
    /// A UUID; empty in an answer that was wrapped.
    pub(super) request_id: String,
    pub(super) lease_id: String,
    pub(super) lease_seconds: u64,
    pub(super) data: Option<Value>,
    pub(super) auth: Option<Value>,
    pub(super) wrap_info: Option<Value>,
    pub(super) warnings: Vec<String>,
    /// The kind of mount that answered, which current releases name.
    pub(super) mount_type: Option<String>,
}

impl Secret {
    /// An answer with data.
    pub(super) fn data(data: Value) -> Self {
        Self {
            data: Some(data),
            ..Self::default()
        }
    }
}

impl From<Secret> for Reply {
    fn from(secret: Secret) -> Self {
        Self::Secret(Box::new(secret))
    }
}

impl Reply {
    /// A 200 with data.
    pub(super) fn data(data: Value) -> Self {
        Secret::data(data).into()
    }

    /// With this id in the envelope, if there is one and it is to have one.
    pub(super) fn with_id(mut self, id: String) -> Self {
        if let Self::Secret(secret) = &mut self
            && secret.wrap_info.is_none()
        {
            secret.request_id = id;
        }
        self
    }

    /// With the kind of mount that answered.
    pub(super) fn of_mount(mut self, kind: &str) -> Self {
        if let Self::Secret(secret) = &mut self {
            secret.mount_type = Some(kind.to_owned());
        }
        self
    }

    /// As HTTP.
    pub(super) fn response(self) -> Response<Bytes> {
        match self {
            Self::Done => respond(StatusCode::NO_CONTENT, "application/json", Bytes::new()),
            Self::Bare(status, body) => json_response(status, &body),
            Self::Raw(status, content_type, body) => respond(status, content_type, body),
            Self::Secret(secret) => {
                let mut body = Map::new();
                body.insert("request_id".into(), json!(secret.request_id));
                body.insert("lease_id".into(), json!(secret.lease_id));
                // Of tokens this is said in `auth`, and no engine here gives other leases to renew.
                body.insert("renewable".into(), json!(false));
                body.insert("lease_duration".into(), json!(secret.lease_seconds));
                body.insert("data".into(), json!(secret.data));
                body.insert("wrap_info".into(), json!(secret.wrap_info));
                let warnings = (!secret.warnings.is_empty()).then_some(&secret.warnings);
                body.insert("warnings".into(), json!(warnings));
                body.insert("auth".into(), json!(secret.auth));
                if let Some(kind) = &secret.mount_type {
                    body.insert("mount_type".into(), json!(kind));
                }
                json_response(secret.status, &Value::Object(body))
            }
        }
    }
}

/// The refusal of a request, in Vault's words.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) errors: Vec<String>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            errors: vec![error.into()],
        }
    }

    /// 400 with a text.
    pub(super) fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// A status that says it all: `{"errors":[]}`.
    pub(super) fn plain(status: StatusCode) -> Self {
        Self {
            status,
            errors: Vec::new(),
        }
    }

    /// There is nothing at this path.
    pub(super) fn missing() -> Self {
        Self::plain(StatusCode::NOT_FOUND)
    }

    /// A text in the frame that Vault puts around a backend's errors.
    pub(super) fn framed(status: StatusCode, error: &str) -> Self {
        Self::new(status, format!("1 error occurred:\n\t* {error}\n\n"))
    }

    /// The token's policies do not allow it.
    pub(super) fn denied() -> Self {
        Self::framed(StatusCode::FORBIDDEN, "permission denied")
    }

    /// Nothing of this name at a backend.
    pub(super) fn unsupported_path() -> Self {
        Self::framed(StatusCode::NOT_FOUND, "unsupported path")
    }

    /// The path has no such operation.
    pub(super) fn unsupported_operation() -> Self {
        Self::framed(StatusCode::METHOD_NOT_ALLOWED, "unsupported operation")
    }

    /// As HTTP.
    pub(super) fn response(self) -> Response<Bytes> {
        json_response(self.status, &json!({ "errors": self.errors }))
    }
}

fn json_response(status: StatusCode, body: &Value) -> Response<Bytes> {
    // Go's encoder ends with a line feed.
    respond(status, "application/json", Bytes::from(format!("{body}\n")))
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
