//! Answers to proxies, encoded.

use bytes::Bytes;
use envoy_api::envoy::config::core::v3 as core;
use envoy_api::envoy::service::auth::v3 as api;
use envoy_api::envoy::r#type::v3::HttpStatus;
use envoy_api::google::rpc;
use envoy_api::prost::Message as _;

use crate::server::grpc::Code;

/// Text of a 401, for people without a browser.
const LOGIN_NEEDED: &str = "this service needs a login\n";

/// Text of a 503.
const UNDECIDED: &str = "logins cannot be checked now\n";

/// The answer that lets a request pass, as it is: it keeps its `Authorization` header, as with
/// HAProxy.
pub(super) fn pass() -> Bytes {
    let answer = api::CheckResponse {
        status: Some(status(Code::Ok)),
        http_response: Some(api::check_response::HttpResponse::OkResponse(
            api::OkHttpResponse::default(),
        )),
        ..api::CheckResponse::default()
    };
    answer.encode_to_vec().into()
}

/// The answer that asks for a login
/// ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617#section-2)).
pub(super) fn challenge(realm: &str) -> Bytes {
    let quoted = realm.replace('\\', r"\\").replace('"', "\\\"");
    let header = core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: "www-authenticate".to_owned(),
            value: format!("Basic realm=\"{quoted}\""),
            ..core::HeaderValue::default()
        }),
        append_action: core::header_value_option::HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..core::HeaderValueOption::default()
    };
    denied(401, vec![header], LOGIN_NEEDED)
}

/// The answer to a request of which nothing can be said.
pub(super) fn undecided() -> Bytes {
    denied(503, Vec::new(), UNDECIDED)
}

fn denied(code: i32, headers: Vec<core::HeaderValueOption>, body: &str) -> Bytes {
    let denied = api::DeniedHttpResponse {
        status: Some(HttpStatus { code }),
        headers,
        body: body.to_owned(),
    };
    let answer = api::CheckResponse {
        status: Some(status(Code::PermissionDenied)),
        http_response: Some(api::check_response::HttpResponse::DeniedResponse(denied)),
        ..api::CheckResponse::default()
    };
    answer.encode_to_vec().into()
}

fn status(code: Code) -> rpc::Status {
    rpc::Status {
        code: code as i32,
        ..rpc::Status::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_realm_ends_its_quotes() {
        let value = |realm: &str| {
            let answer = api::CheckResponse::decode(challenge(realm)).unwrap();
            let Some(api::check_response::HttpResponse::DeniedResponse(denied)) =
                answer.http_response
            else {
                panic!("{:?}", answer.http_response);
            };
            assert_eq!(denied.status, Some(HttpStatus { code: 401 }));
            denied.headers[0].header.as_ref().unwrap().value.clone()
        };
        assert_eq!(value("Staff only"), r#"Basic realm="Staff only""#);
        assert_eq!(value(r#"a\" b"#), r#"Basic realm="a\\\" b""#);
        assert_eq!(value(""), r#"Basic realm="""#);
    }
}
