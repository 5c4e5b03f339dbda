//! Journeys of `check` and `translate`, as an operator runs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use sim::marathon::{self, Cluster};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::app;
use crate::support::certificates::{Authority, Folder};

/// Exit codes of both commands.
const NOTHING: i32 = 0;
const SOMETHING: i32 = 1;
const BAD_USE: i32 = 2;
const UNREADABLE: i32 = 3;

fn fixture(case: &str, file: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    fixtures.join(case).join(file)
}

/// Runs the program with these arguments and no other settings.
async fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marathon-envoy"));
    command.env_clear().args(arguments).output().await.unwrap()
}

/// The exit code, the standard output and the standard error of a run.
async fn outcome(arguments: &[&str]) -> (i32, String, String) {
    let output = run(arguments).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_check_says_what_apps_become_as_the_fixture_does() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the switch of the golden tests, not a setting"
    )]
    let update = std::env::var_os("UPDATE").is_some();
    let apps = fixture("check-report", "apps.json");
    let apps = apps.to_str().unwrap();
    for (file, more) in [("check.txt", &[][..]), ("check.json", &["--json"])] {
        let arguments = [&["check", "--service-ports", "true", apps], more].concat();
        let (code, said, error) = outcome(&arguments).await;
        assert_eq!((code, error.as_str()), (SOMETHING, ""));
        let expected = fixture("check-report", file);
        if update {
            fs::write(&expected, &said).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(said, expected, "{file} (UPDATE=1 writes it anew)");
    }
}

#[tokio::test]
async fn the_apps_of_a_deployment_group_have_their_ways_together() {
    let apps = fixture("deployment-group", "apps.json");
    let (_, said, _) = outcome(&["check", "--json", apps.to_str().unwrap()]).await;
    let report: Value = serde_json::from_str(&said).unwrap();
    let apps = report["apps"].as_array().unwrap().iter();
    let groups = apps.filter(|app| app["standing"] == "group");
    let ways = groups.map(|group| (&group["id"], &group["ports"][0]["ways"][0]["host"]));
    let ways: Vec<String> = ways.map(|(id, host)| format!("{id} {host}")).collect();
    let expected = ["/docs docs.test", "/pay pay.test", "/shop shop.test"];
    assert_eq!(
        ways.join(", ").replace('"', ""),
        expected.join(", "),
        "{said}"
    );
}

#[tokio::test]
async fn apps_that_are_served_as_they_are_leave_nothing_to_say() {
    let standing = async |case| {
        let file = fixture(case, "apps.json");
        let (code, said, _) = outcome(&["check", "--json", file.to_str().unwrap()]).await;
        let report: Value = serde_json::from_str(&said).unwrap();
        let apps = report["apps"].as_array().unwrap().iter();
        let served = apps.filter(|app| app["standing"] == "served").count();
        (code, served, report["summary"]["problems"].clone())
    };
    assert_eq!(standing("host").await, (NOTHING, 1, json!(0)));
    assert_eq!(standing("paths").await, (NOTHING, 3, json!(0)));
    // The difference is seen.
    let (code, _, problems) = standing("invalid-labels").await;
    assert_eq!(code, SOMETHING);
    assert_ne!(problems, json!(0));
}

#[tokio::test]
async fn one_definition_as_its_author_keeps_it_is_checked_too() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let one = write("one.json", app("web", "web.test", 1).to_string());
    let list = write("list.json", format!("[{}]", app("/api", "api.test", 1)));
    let (code, said, error) = outcome(&["check", &one, &list]).await;
    assert_eq!((code, error.as_str()), (NOTHING, ""), "{said}");
    assert!(
        said.contains("web.test") && said.contains("api.test"),
        "{said}"
    );
    let (code, _, error) = outcome(&["check", &one, &one]).await;
    assert_eq!(code, BAD_USE);
    assert!(error.contains("app /web is in"), "{error}");
}

#[tokio::test]
async fn bad_use_and_unreadable_input_have_exit_codes_of_their_own() {
    let folder = TempDir::new().unwrap();
    let broken = folder.path().join("broken.json");
    fs::write(&broken, "{").unwrap();
    let broken = broken.to_str().unwrap();
    for command in ["check", "translate"] {
        for (arguments, expected, named) in [
            (&["--no-such-flag"][..], BAD_USE, "--no-such-flag"),
            (&["http://a.test", "file"], BAD_USE, "a URL"),
            (&["http://a.test/v2/apps"], BAD_USE, "/v2"),
            (&["--haproxy-group", ",", broken], BAD_USE, "HAPROXY_GROUP"),
            (&["/no/such/file"], UNREADABLE, "/no/such/file"),
            (&[broken], UNREADABLE, "broken.json is no JSON"),
            (&["http://127.0.0.1:1"], UNREADABLE, "Marathon"),
        ] {
            let arguments = [&[command], arguments].concat();
            let (code, said, error) = outcome(&arguments).await;
            assert_eq!(code, expected, "{arguments:?}: {error}");
            assert!(error.contains(named) && said.is_empty(), "{error}{said}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}

#[tokio::test]
async fn marathon_is_asked_with_the_daemons_settings() {
    let config = marathon::Config {
        credentials: Some(("edge".to_owned(), "secret".to_owned())),
        ..marathon::Config::default()
    };
    let marathon = Cluster::start(config).await.unwrap();
    marathon
        .create_app(app("/web", "web.test", 2))
        .await
        .unwrap();
    let login = tempfile::NamedTempFile::new().unwrap();
    fs::write(login.path(), "edge:secret\n").unwrap();
    let login = format!("--marathon-credentials-file={}", login.path().display());
    let url = marathon.urls().join(",");
    let (code, _, error) = outcome(&["check", &url]).await;
    assert_eq!(code, UNREADABLE, "{error}");
    let marathon_flag = format!("--marathon={url}");
    for arguments in [["check", &login, &url], ["check", &login, &marathon_flag]] {
        let (code, said, error) = outcome(&arguments).await;
        assert_eq!((code, error.as_str()), (NOTHING, ""), "{said}");
        assert!(said.contains("web.test"), "{said}");
    }
    let (code, said, _) = outcome(&["translate", "--kind", "endpoints", &login, &url]).await;
    assert_eq!(code, NOTHING);
    let document: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(document["endpoints"]["resources"][0]["name"], "/web_0");
    marathon.shutdown().await;
}

#[tokio::test]
async fn a_translation_holds_every_kind_and_no_key() {
    let authority = Authority::new();
    let certificates = Folder::new();
    let bundle = authority.bundle(&["shop.test"]);
    certificates.put("shop", &bundle.pem());
    let host = fixture("host", "apps.json");
    let arguments = ["translate", host.to_str().unwrap(), &certificates.flag()];
    let (code, said, error) = outcome(&arguments).await;
    assert_eq!((code, error.as_str()), (NOTHING, ""));
    let document: Value = serde_json::from_str(&said).unwrap();
    for kind in ["clusters", "endpoints", "listeners", "routes", "secrets"] {
        let resources = document[kind]["resources"].as_array().unwrap();
        assert!(!resources.is_empty(), "{kind}: {said}");
    }
    bundle.assert_hidden("the translation", &said);
    assert!(said.contains("[redacted]"), "{said}");
}
