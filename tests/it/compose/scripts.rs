//! The scripts written out in `docker-compose.yml` are run: `vault-setup` beside a `vault` that
//! keeps what it is told, the app as its agent starts it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use marathon_envoy::labels::{self, Groups};
use marathon_envoy::marathon::translate;
use marathon_envoy::pipeline::Projector;
use marathon_envoy::resources;
use marathon_envoy::snapshot::Kind;
use marathon_envoy::state::event::Event;
use marathon_envoy::state::{self, State, reduce};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::file::{Compose, DAEMON};
use crate::support::certificates::{Authority, Bundle};

/// Answers as Vault's command line does, as far as the script asks; keeps every call, and what is
/// put into the key-value store, in the folder `$KEPT`. Fails on calls that name `$FAILS`.
const VAULT: &str = r#"#!/bin/sh
echo "$*" >> "$KEPT/calls"
case "$*" in *"$FAILS"*) echo "permission denied" >&2; exit 2 ;; esac
case "$*" in
  "secrets list") cat "$KEPT/mounts" ;;
  "secrets enable pki") echo "pki/    pki" >> "$KEPT/mounts" ;;
  "auth list") echo "token/    token" ;;
  "read -field=role_id "*) echo "the role" ;;
  *"-field=secret_id "*)
    echo "accessor-$$" >> "$KEPT/accessors"
    echo "the secret" ;;
  "list "*/secret-id)
    [ -s "$KEPT/accessors" ] || { echo "No value found" >&2; exit 2; }
    printf 'Keys\n----\n'; cat "$KEPT/accessors" ;;
  *"/secret-id-accessor/destroy secret_id_accessor="*)
    grep -v "^${*##*=}$" "$KEPT/accessors" > "$KEPT/left"; mv "$KEPT/left" "$KEPT/accessors" ;;
  "read -field=certificate pki/cert/ca") echo "the CA" ;;
  *" pki/issue/"*) cat "$KEPT/bundle.pem" ;;
  "kv put -field=version "*/certificates/*)
    for word; do case "$word" in *=@*) cp "${word#*=@}" "$KEPT/${word%%=*}" ;; esac; done
    echo 3 ;;
  "kv put "*/live*) shift 3; printf %s "$*" > "$KEPT/live" ;;
esac
"#;

/// Nobody but root gives files away: keeps who was to get which.
const CHOWN: &str = "#!/bin/sh\necho \"$*\" >> \"$KEPT/owners\"\n";

/// A Vault to set up, and the folders where identities go.
struct Setup {
    folder: TempDir,
    authority: Authority,
}

impl Setup {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path();
        for name in ["bin", "kept", "tmp", "identity/daemon", "identity/envoy"] {
            fs::create_dir_all(path.join(name)).unwrap();
        }
        for (name, text) in [("vault", VAULT), ("chown", CHOWN)] {
            let file = path.join("bin").join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(path.join("kept/mounts"), "secret/    kv\n").unwrap();
        let identity = format!("{}/identity/", path.display());
        let script = Compose::read().content("vault-setup");
        let script = script.replace("/identity/", &identity);
        fs::write(path.join("setup.sh"), script).unwrap();
        Self {
            folder,
            authority: Authority::new(),
        }
    }

    /// The next certificates are this one: key, certificate and chain, as Vault bundles them.
    fn bundle(&self) -> Bundle {
        let bundle = self.authority.bundle(&["hello.example.test"]);
        let chain = &self.authority.pem;
        let text = format!("{}{}{chain}", bundle.key_pem, bundle.certificate_pem);
        fs::write(self.path("kept/bundle.pem"), text).unwrap();
        bundle
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn run(&self, arguments: &[&str], fails: &str) -> Output {
        Command::new("sh")
            .args(["-c", r#"PATH="$1:$PATH"; shift; exec sh "$@""#, "sh"])
            .arg(self.path("bin"))
            .arg(self.path("setup.sh"))
            .args(arguments)
            .env("KEPT", self.path("kept"))
            .env("FAILS", fails)
            .env("TMPDIR", self.path("tmp"))
            .output()
            .unwrap()
    }

    /// Runs it to a good end; what it asked of Vault.
    fn done(&self, arguments: &[&str]) -> Vec<String> {
        let _ = fs::remove_file(self.path("kept/calls"));
        let output = self.run(arguments, "nothing");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
        self.file("kept/calls").lines().map(str::to_owned).collect()
    }
}

#[test]
fn vault_setup_hands_each_side_its_identity_and_nobody_else() {
    let setup = Setup::new();
    setup.bundle();
    let calls = setup.done(&[]);
    assert!(calls.contains(&"policy write marathon-envoy /vault-policy.hcl".to_owned()));
    assert_eq!(setup.file("identity/daemon/role-id"), "the role\n");
    assert_eq!(setup.file("identity/daemon/secret-id"), "the secret\n");
    assert_eq!(setup.file("identity/envoy/ca.pem"), "the CA\n");
    assert_eq!(
        setup.file("identity/envoy/identity.pem"),
        setup.file("kept/bundle.pem")
    );
    let owners = setup.file("kept/owners");
    for (folder, user, count) in [("daemon", "65532:65532", 2), ("envoy", "101:101", 2)] {
        let files: Vec<_> = fs::read_dir(setup.path("identity").join(folder))
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        assert_eq!(files.len(), count, "{files:?}");
        for file in files {
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
            let given = format!("{user} {}.new\n", file.display());
            assert!(owners.contains(&given), "{given}");
        }
    }
}

#[test]
fn vault_setup_stores_the_certificate_of_the_edge_as_marathon_acme_does() {
    let setup = Setup::new();
    let bundle = setup.bundle();
    setup.done(&["edge"]);
    assert_eq!(setup.file("kept/privkey"), bundle.key_pem);
    assert_eq!(setup.file("kept/cert"), bundle.certificate_pem);
    assert_eq!(setup.file("kept/chain"), setup.authority.pem);
    let live = setup.file("kept/live");
    let (name, entry) = live.split_once('=').unwrap();
    assert_eq!(name, "hello.example.test");
    let fingerprint = data_encoding::HEXLOWER.encode(&Sha256::digest(&bundle.der));
    let expected = json!({ "version": 3, "fingerprint": fingerprint, "dns_names": [name] });
    assert_eq!(serde_json::from_str::<Value>(entry).unwrap(), expected);
}

#[test]
fn vault_setup_may_be_run_again_and_keeps_the_authority() {
    let setup = Setup::new();
    setup.bundle();
    let founding = |calls: Vec<String>| {
        let founds = |call: &&String| call.contains("root/generate") || call.contains("enable pki");
        calls.iter().filter(founds).count()
    };
    assert_eq!(founding(setup.done(&[])), 2);
    let next = setup.bundle();
    assert_eq!(founding(setup.done(&[])), 0);
    let identity = setup.file("identity/envoy/identity.pem");
    assert!(identity.starts_with(&next.key_pem));
}

#[test]
fn vault_setup_leaves_one_secret_id_however_often_it_is_run() {
    let setup = Setup::new();
    setup.bundle();
    let destroyed = |calls: Vec<String>| {
        let destroys = |call: &&String| call.contains("secret-id-accessor/destroy");
        calls.iter().filter(destroys).count()
    };
    assert_eq!(destroyed(setup.done(&[])), 0);
    let first = setup.file("kept/accessors");
    for _ in 0..3 {
        setup.bundle();
        assert_eq!(destroyed(setup.done(&[])), 1);
        let left = setup.file("kept/accessors");
        assert_eq!(left.lines().count(), 1, "{left}");
        assert_ne!(left, first, "the newest");
    }
}

#[test]
fn vault_setup_ends_at_the_first_refusal_and_breaks_nothing() {
    let setup = Setup::new();
    setup.bundle();
    setup.done(&[]);
    let before = setup.file("identity/envoy/identity.pem");
    setup.bundle();
    for refused in [
        "secret-id",
        "pki/cert/ca",
        "pki/issue/envoy",
        "pki/issue/edge",
        "kv put",
    ] {
        let output = setup.run(&[], refused);
        assert!(!output.status.success(), "{refused}");
        if refused != "pki/issue/edge" && refused != "kv put" {
            assert_eq!(setup.file("identity/envoy/identity.pem"), before);
        }
    }
    assert_eq!(setup.run(&["nonsense"], "nothing").status.code(), Some(2));
}

/// The app as its agent starts it, and where it listens. Killed when dropped.
struct Hello {
    child: Child,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl Hello {
    fn start(script: &Path) -> Self {
        let mut child = Command::new("perl")
            .arg(script)
            .arg("0")
            .env("MESOS_TASK_ID", "task-1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("perl, to run the app: install it (Debian: apt-get install perl)");
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("listening on ").unwrap();
        let port = port.parse().unwrap();
        Self {
            child,
            output,
            port,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream
            .set_read_timeout(Some(crate::support::LIMIT))
            .unwrap();
        stream
    }

    fn answer(&self) -> String {
        let mut stream = self.connect();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: hello\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Hello {
    fn drop(&mut self) {
        // It has ended already when all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_app_answers_many_at_once_and_still_while_it_is_told_to_end() {
    let folder = TempDir::new().unwrap();
    let script = folder.path().join("hello.pl");
    fs::write(&script, Compose::read().content("hello-server")).unwrap();
    let mut hello = Hello::start(&script);

    let silent = hello.connect();
    let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 18\r\n\
                    Connection: close\r\n\r\nhello from task-1\n";
    assert_eq!(hello.answer(), expected);
    drop(silent);

    let kill = format!("kill -TERM {}", hello.child.id());
    let told = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(told.success());
    assert_eq!(hello.answer(), expected);
    assert!(hello.child.wait().unwrap().success());
    let mut rest = String::new();
    hello.output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn the_app_is_what_its_agent_can_start_and_what_the_daemon_serves() {
    let compose = Compose::read();
    let app: Value = serde_json::from_str(&compose.content("hello-app")).unwrap();
    let put = compose.service("hello").command.last().unwrap();
    assert_eq!(
        *put,
        format!(
            "http://marathon:8080/v2/apps{}",
            app["id"].as_str().unwrap()
        )
    );
    let script = compose.service("mesos-agent").target_of("hello-server");
    assert_eq!(app["cmd"], format!("exec perl {script} $PORT0"));
    let sent = compose.service("hello").target_of("hello-app");
    assert!(
        compose
            .service("hello")
            .command
            .contains(&format!("@{sent}"))
    );

    let group = &compose.service(DAEMON).environment["HAPROXY_GROUP"];
    let mut projection = Projector::new(
        labels::Config::usual(Groups::Named([group.clone()].into())),
        resources::Config::default(),
    );
    // As Marathon lists it: with the tasks that it was asked for.
    let mut listed = app.clone();
    listed["tasks"] = json!([]);
    let list = json!({ "apps": [listed] }).to_string();
    let synced = Event::Synced(translate::apps(list.as_bytes()).unwrap());
    let before = State::new(state::Config::default());
    let (after, _) = reduce(before.clone(), synced);
    projection.project(&after);
    assert_eq!(after.problems(), []);
    assert_eq!(projection.problems(), []);
    let clusters = projection.snapshot().resources(Kind::Cluster);
    let names: Vec<_> = clusters.keys().map(|name| &**name).collect();
    assert_eq!(names, ["/hello_0"]);
    // The certificate that vault-setup issues is for the host of the app.
    let host = app["labels"]["HAPROXY_0_VHOST"].as_str().unwrap();
    let issued = format!("common_name={host} ");
    assert!(compose.content("vault-setup").contains(&issued), "{issued}");
}
