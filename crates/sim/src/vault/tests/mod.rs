//! What a client meets at the simulated Vault: the release it is like, tokens, certificates.

mod certificates;
mod logins;
mod release;
mod shapes;
mod stores;
mod tokens;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;

use super::{Config, Peer, Profile, Vault};

/// An answer, read whole.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    /// `null` if it is empty, a text if it is not JSON.
    body: Value,
}

impl Answer {
    /// The first text of a refusal.
    fn error(&self) -> &str {
        let error = self.body.pointer("/errors/0").and_then(Value::as_str);
        error.unwrap_or_else(|| panic!("no refusal: {self:?}"))
    }

    /// A value at a JSON pointer, which must be there.
    fn at(&self, pointer: &str) -> &Value {
        let found = self.body.pointer(pointer);
        found.unwrap_or_else(|| panic!("no {pointer}: {self:?}"))
    }

    fn text(&self, pointer: &str) -> String {
        let found = self.at(pointer).as_str();
        found
            .unwrap_or_else(|| panic!("{pointer} is no text: {self:?}"))
            .to_owned()
    }

    fn number(&self, pointer: &str) -> i64 {
        let found = self.at(pointer).as_i64();
        found.unwrap_or_else(|| panic!("{pointer} is no number: {self:?}"))
    }
}

/// Somebody who asks with a token, in this process.
#[derive(Clone)]
struct Client {
    vault: Vault,
    token: Option<String>,
    peer: Option<Peer>,
    headers: HeaderMap,
}

impl Client {
    fn root(profile: Profile) -> Self {
        let vault = Vault::offline(Config {
            profile,
            ..Config::default()
        });
        let token = Some(vault.root_token().to_owned());
        Self {
            vault,
            token,
            peer: None,
            headers: HeaderMap::new(),
        }
    }

    fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    fn without_token(&self) -> Self {
        Self {
            token: None,
            ..self.clone()
        }
    }

    fn with_peer(&self, peer: Peer) -> Self {
        Self {
            peer: Some(peer),
            ..self.clone()
        }
    }

    fn with_header(&self, name: &'static str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.insert(name, value.parse().unwrap());
        client
    }

    /// A token with this request, as root makes it.
    async fn child(&self, body: Value) -> Self {
        let made = self.post("auth/token/create", body).await;
        assert_eq!(made.status, 200, "{made:?}");
        self.with_token(&made.text("/auth/client_token"))
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut request = http::Request::new(Bytes::from(body.to_owned()));
        *request.method_mut() = method.parse::<Method>().unwrap();
        *request.uri_mut() = format!("/v1/{path}").parse().unwrap();
        *request.headers_mut() = self.headers.clone();
        if let Some(token) = &self.token {
            let token = token.parse().unwrap();
            request.headers_mut().insert("x-vault-token", token);
        }
        let response = self.vault.answer(request, self.peer.clone()).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: if body.is_empty() {
                Value::Null
            } else {
                serde_json::from_slice(&body).unwrap_or_else(|_| text())
            },
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, &body.to_string()).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, "").await
    }

    /// As [`Client::post`], for what must be taken.
    async fn set(&self, path: &str, body: Value) -> Answer {
        let answer = self.post(path, body).await;
        assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
        answer
    }
}
