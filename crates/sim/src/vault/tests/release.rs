//! Release 1.8, request by request: the status, the shape and the texts that it answers with.

use serde_json::{Value, json};

use super::shapes::differences;
use super::{Client, Profile};

/// One request and what it gets.
struct Row {
    method: &'static str,
    path: &'static str,
    body: Value,
    status: u16,
    /// As [`differences`] takes it.
    expected: Value,
}

/// What a request gets: an example of the body, or the text that it is refused with.
trait Expected {
    fn body(self) -> Value;
}

impl Expected for Value {
    fn body(self) -> Value {
        self
    }
}

impl Expected for &str {
    fn body(self) -> Value {
        json!({ "errors": [self] })
    }
}

fn row(request: &'static str, body: Value, status: u16, expected: impl Expected) -> Row {
    let (method, path) = request.split_once(' ').unwrap();
    Row {
        method,
        path,
        body,
        status,
        expected: expected.body(),
    }
}

/// The envelope around data.
fn secret(data: Value) -> Value {
    leased("", 0, data)
}

fn leased(lease_id: &str, seconds: u64, data: Value) -> Value {
    json!({
        "request_id": "str", "lease_id": lease_id, "renewable": false, "lease_duration": seconds,
        "data": data, "wrap_info": null, "warnings": null, "auth": null,
    })
}

/// Goes through rows in order, each with the same client, and tells of all that differ at once.
async fn walk(client: &Client, rows: Vec<Row>) {
    let mut wrong = Vec::new();
    for row in rows {
        let body = if row.body.is_null() {
            String::new()
        } else {
            row.body.to_string()
        };
        let answer = client.ask(row.method, row.path, &body).await;
        let request = format!("{} {}", row.method, row.path);
        if answer.status != row.status {
            wrong.push(format!("{request}: {} {}", answer.status, answer.body));
        }
        let different = differences(&row.expected, &answer.body);
        wrong.extend(
            different
                .into_iter()
                .map(|place| format!("{request}: {place}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn health_and_seal_are_as_in_1_8() {
    let client = Client::root(Profile::V1_8).without_token();
    let health = json!({
        "initialized": true, "sealed": false, "standby": false, "performance_standby": false,
        "replication_performance_mode": "disabled", "replication_dr_mode": "disabled",
        "server_time_utc": "int", "version": "str", "cluster_name": "str", "cluster_id": "str",
    });
    let sealed_health = json!({
        "initialized": true, "sealed": true, "standby": true, "performance_standby": false,
        "replication_performance_mode": "unknown", "replication_dr_mode": "unknown",
        "server_time_utc": "int", "version": "str",
    });
    let none = Value::Null;
    walk(
        &client,
        vec![
            row("GET sys/health", none.clone(), 200, health),
            row(
                "GET secret/data/x",
                none.clone(),
                400,
                "missing client token",
            ),
        ],
    )
    .await;
    client.vault.seal();
    walk(
        &client,
        vec![
            row("GET sys/health", none.clone(), 503, sealed_health),
            row("GET secret/data/x", none.clone(), 503, "Vault is sealed"),
        ],
    )
    .await;
    let text = "error performing token check: Vault is sealed";
    let client = client.with_token("s.any");
    walk(
        &client,
        vec![
            row("GET secret/data/x", none.clone(), 503, text),
            row("POST pki/issue/x", json!({}), 503, text),
            row("POST auth/token/renew-self", json!({}), 503, text),
        ],
    )
    .await;
    client.vault.unseal();
    walk(
        &client,
        vec![
            row("GET secret/data/x", none.clone(), 403, "permission denied"),
            row("GET auth/token/lookup-self", none, 403, "permission denied"),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn mounts_and_wrong_requests_are_answered_as_in_1_8() {
    let client = Client::root(Profile::V1_8);
    let mount = |path: &str, options: Value| {
        secret(json!({
            "accessor": "str",
            "config": { "default_lease_ttl": 0, "force_no_cache": false, "max_lease_ttl": 0 },
            "description": "", "external_entropy_access": false, "local": false,
            "options": options, "path": path, "seal_wrap": false, "type": "kv", "uuid": "str",
        }))
    };
    let in_use = "path is already in use at kv1/";
    let unsupported = "1 error occurred:\n\t* unsupported path\n\n";
    let none = Value::Null;
    walk(
        &client,
        vec![
            row(
                "GET nosuch/foo",
                none.clone(),
                404,
                "no handler for route 'nosuch/foo'",
            ),
            row("GET sys/nosuch", none.clone(), 404, unsupported),
            row(
                "POST sys/mounts/kv1",
                json!({ "type": "kv" }),
                204,
                none.clone(),
            ),
            row(
                "POST sys/mounts/kv2",
                json!({ "type": "kv", "options": { "version": "2" } }),
                204,
                none.clone(),
            ),
            row(
                "POST sys/mounts/kvv2",
                json!({ "type": "kv-v2" }),
                204,
                none.clone(),
            ),
            row("POST sys/mounts/kv1", json!({ "type": "kv" }), 400, in_use),
            row(
                "GET sys/internal/ui/mounts/kv2/foo",
                none.clone(),
                200,
                mount("kv2/", json!({ "version": "2" })),
            ),
            row(
                "GET sys/internal/ui/mounts/kv1/foo",
                none,
                200,
                mount("kv1/", json!({})),
            ),
        ],
    )
    .await;
    let answer = client
        .ask("POST", "auth/token/renew-self", "{bad json")
        .await;
    assert_eq!((answer.status, answer.error()), (400, "error parsing JSON"));
    let child = client
        .child(json!({ "policies": ["none"], "ttl": "1h" }))
        .await;
    let answer = child.get("sys/internal/ui/mounts/kv2/a").await;
    let text = "preflight capability check returned 403, please ensure client's policies grant \
                access to path \"kv2/a/\"";
    assert_eq!((answer.status, answer.error()), (403, text));
}

#[tokio::test(start_paused = true)]
async fn the_store_without_versions_is_as_in_1_8() {
    let client = Client::root(Profile::V1_8);
    client.set("sys/mounts/kv1", json!({ "type": "kv" })).await;
    let data = json!({ "a.example.com": "aabb" });
    let missing = json!({ "errors": [] });
    let none = Value::Null;
    walk(
        &client,
        vec![
            row("PUT kv1/acme/live", data.clone(), 204, none.clone()),
            row(
                "GET kv1/acme/live",
                none.clone(),
                200,
                leased("", 2_764_800, data),
            ),
            row("GET kv1/nope", none.clone(), 404, missing.clone()),
            row("DELETE kv1/acme/live", none.clone(), 204, none.clone()),
            row("GET kv1/acme/live", none.clone(), 404, missing.clone()),
            row(
                "PUT kv1/ttl",
                json!({ "a": "b", "ttl": "30s" }),
                204,
                none.clone(),
            ),
            row(
                "GET kv1/ttl",
                none.clone(),
                200,
                leased("", 30, json!({ "a": "b", "ttl": "30s" })),
            ),
            row("PUT kv1/empty", json!({}), 400, "missing data fields"),
            row("GET kv1/data/acme/live", none, 404, missing),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_store_with_versions_is_as_in_1_8() {
    let client = Client::root(Profile::V1_8);
    client
        .set("sys/mounts/kv2", json!({ "type": "kv-v2" }))
        .await;
    let version = |number: u64, deleted: &str| {
        json!({
            "created_time": "str", "deletion_time": deleted, "destroyed": false,
            "version": number,
        })
    };
    let read = |data: Value, metadata: Value| secret(json!({ "data": data, "metadata": metadata }));
    let mut invalid = secret(Value::Null);
    invalid["warnings"] = json!(["str"]);
    let stale = "check-and-set parameter did not match the current version";
    let first = json!({ "a": "{\"version\":1}" });
    let second = json!({ "a": "{\"version\":2}" });
    let write = |cas: u64, data: &Value| json!({ "options": { "cas": cas }, "data": data });
    let missing = json!({ "errors": [] });
    let none = Value::Null;
    walk(
        &client,
        vec![
            row(
                "PUT kv2/data/live",
                write(0, &first),
                200,
                secret(version(1, "")),
            ),
            row("PUT kv2/data/live", write(0, &first), 400, stale),
            row(
                "PUT kv2/data/live",
                write(1, &second),
                200,
                secret(version(2, "")),
            ),
            row(
                "GET kv2/data/live",
                none.clone(),
                200,
                read(second.clone(), version(2, "")),
            ),
            row("GET kv2/data/nope", none.clone(), 404, missing),
            row("GET kv2/live", none.clone(), 404, invalid),
            row("DELETE kv2/data/live", none.clone(), 204, none.clone()),
            row(
                "GET kv2/data/live",
                none.clone(),
                404,
                read(none.clone(), version(2, "str")),
            ),
            row(
                "POST kv2/undelete/live",
                json!({ "versions": [2] }),
                204,
                none.clone(),
            ),
            row(
                "POST kv2/delete/live",
                json!({ "versions": [2] }),
                204,
                none.clone(),
            ),
            row(
                "GET kv2/data/live",
                none.clone(),
                404,
                read(none.clone(), version(2, "str")),
            ),
            row(
                "POST kv2/undelete/live",
                json!({ "versions": [2] }),
                204,
                none.clone(),
            ),
            row(
                "GET kv2/data/live",
                none.clone(),
                200,
                read(second, version(2, "")),
            ),
            row(
                "PUT kv2/data/e",
                json!({ "x": "y" }),
                400,
                "no data provided",
            ),
            row(
                "PUT kv2/data/e",
                json!({ "data": {} }),
                200,
                secret(version(1, "")),
            ),
        ],
    )
    .await;
    let answer = client.get("kv2/live").await;
    let text = "Invalid path for a versioned K/V secrets engine.";
    assert!(answer.text("/warnings/0").starts_with(text), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn certificates_are_issued_as_in_1_8() {
    let client = Client::root(Profile::V1_8);
    let mount = json!({ "type": "pki", "config": { "max_lease_ttl": "87600h" } });
    let no_ca = "1 error occurred:\n\t* could not fetch the CA certificate (was one set?): backend \
                 must be configured with a CA certificate/key\n\n";
    let made = json!({
        "certificate": "str", "expiration": "int", "issuing_ca": "str", "serial_number": "str",
    });
    let issued = json!({
        "certificate": "str", "expiration": "int", "issuing_ca": "str", "private_key": "str",
        "private_key_type": "ec", "serial_number": "str",
    });
    let named = |name: &str| json!({ "common_name": name });
    let ttl = |ttl: Value| json!({ "common_name": "cp.example.com", "ttl": ttl });
    let root = json!({ "common_name": "demo CA", "ttl": "87600h" });
    let role = json!({
        "allowed_domains": "cp.example.com", "allow_bare_domains": true, "max_ttl": "1h", "ttl": "30m",
    });
    let leased_role = json!({ "allow_any_name": true, "generate_lease": true, "ttl": "10m" });
    let no_name = "the common_name field is required, or must be provided in a CSR with \
                   \"use_csr_common_name\" set to true, unless \"require_cn\" is set to false";
    let no_duration = "1 error occurred:\n\t* error converting input 1d for field \"ttl\": \
                       strconv.ParseInt: parsing \"1d\": invalid syntax\n\n";
    let none = Value::Null;
    walk(
        &client,
        vec![
            row("POST sys/mounts/pki", mount, 204, none.clone()),
            row("GET pki/ca/pem", none.clone(), 204, none.clone()),
            row(
                "POST pki/roles/early",
                json!({ "allow_any_name": true }),
                204,
                none.clone(),
            ),
            row("POST pki/issue/early", named("x.example.com"), 500, no_ca),
            row("POST pki/root/generate/internal", root, 200, secret(made)),
            row("GET pki/ca/pem", none.clone(), 200, json!("str")),
            row("GET pki/ca_chain", none.clone(), 204, none.clone()),
            row("POST pki/roles/cp", role, 204, none.clone()),
            row(
                "POST pki/issue/cp",
                named("cp.example.com"),
                200,
                secret(issued.clone()),
            ),
            row(
                "POST pki/issue/cp",
                ttl(json!("999h")),
                200,
                secret(issued.clone()),
            ),
            row(
                "POST pki/issue/cp",
                ttl(json!(60)),
                200,
                secret(issued.clone()),
            ),
            row("POST pki/issue/cp", ttl(json!("1d")), 500, no_duration),
            row(
                "POST pki/issue/cp",
                named("evil.org"),
                400,
                "common name evil.org not allowed by this role",
            ),
            row("POST pki/issue/cp", json!({}), 400, no_name),
            row(
                "POST pki/issue/nope",
                named("a.example.com"),
                400,
                "unknown role: nope",
            ),
            row(
                "POST pki/issue/cp",
                json!({ "common_name": "cp.example.com", "ip_sans": "notip" }),
                400,
                "the value 'notip' is not a valid IP address",
            ),
            row("POST pki/roles/leased", leased_role, 204, none),
        ],
    )
    .await;
    for path in ["pki/ca/pem", "pki/ca_chain"] {
        let answer = client.without_token().get(path).await;
        let kind = &answer.headers["content-type"];
        assert_eq!(kind, "application/pkix-cert", "{path}");
    }
    let answer = client
        .post("pki/issue/leased", named("x.example.com"))
        .await;
    let lease = answer.text("/lease_id");
    assert!(lease.starts_with("pki/issue/leased/"), "{lease}");
    let expected = leased(&lease, 599, issued);
    let seconds = answer.number("/lease_duration");
    assert!((599..=600).contains(&seconds), "{seconds}");
    let mut found = answer.body.clone();
    found["lease_duration"] = json!(599);
    assert_eq!(differences(&expected, &found), Vec::<String>::new());
}
