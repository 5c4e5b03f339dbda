//! Apps that a command reads once: from Marathon, or from files.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::iter;
use serde_json::{Map, Value};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::terminal::{UNREADABLE, USAGE};
use crate::marathon::translate;
use crate::metrics::Metrics;
use crate::net::blocking::run_blocking;
use crate::pipeline::Projector;
use crate::settings::{BadSetting, Translation, Typed};
use crate::state::app::AgentHost;
use crate::state::event::{Event, List};
use crate::state::{self, State, reduce};
use crate::{files, marathon};

/// The apps that a command reads, and the settings by which it translates them.
#[derive(Args, Clone, Debug)]
pub(super) struct AppsInput {
    /// The URL of Marathon, or files with app definitions as it answers them: the body of
    /// `GET /v2/apps`, a list, or one app, and the same of pods or of their status; `-` is the standard
    /// input. Without it the Marathon of MARATHON is asked.
    #[arg(value_name = "URL|FILE")]
    input: Vec<String>,

    /// The settings of the daemon.
    #[command(flatten)]
    typed: Box<Typed>,
}

/// Apps that were read, and what becomes of them.
pub(super) struct TranslatedApps {
    pub(super) state: State,
    pub(super) projector: Projector,
    pub(super) settings: Translation,
}

/// Reason why there are no apps.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Setting(#[from] BadSetting),
    #[error("a URL and something else are given; give URLs of one Marathon, or files")]
    Mixed,
    #[error("app {id} is in {first} and in {second}; give each app once")]
    Twice {
        id: String,
        first: String,
        second: String,
    },
    #[error("cannot start threads")]
    Threads(#[source] io::Error),
    #[error("cannot read {file}")]
    File { file: String, source: io::Error },
    #[error("{file} is no JSON")]
    Json {
        file: String,
        source: serde_json::Error,
    },
    #[error(
        "{file} holds no apps: it is neither an answer to GET /v2/apps or GET /v2/pods/::status, nor a \
         list, nor an app or a pod"
    )]
    NoApps { file: String },
    #[error("the apps cannot be read")]
    Apps(#[from] translate::TranslateError),
    #[error("Marathon cannot be read")]
    Marathon(#[source] marathon::Error),
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
    #[error("cannot read the certificates (CERTIFICATES_DIR)")]
    Certificates(#[source] io::Error),
}

/// Time limit of the look-up of an agent's name.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

/// Most look-ups at a time.
const LOOKUPS_AT_A_TIME: usize = 32;

impl Error {
    /// The exit code of a command that ends with this error.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Setting(_) | Self::Mixed | Self::Twice { .. } => USAGE,
            Self::Threads(_)
            | Self::File { .. }
            | Self::Json { .. }
            | Self::NoApps { .. }
            | Self::Apps(_)
            | Self::Marathon(_)
            | Self::Metrics(_)
            | Self::Certificates(_) => UNREADABLE,
        }
    }
}

impl AppsInput {
    /// Reads the apps and translates them. Names of agents are looked up if `resolves`.
    pub(super) fn translated(&self, resolves: bool) -> Result<TranslatedApps, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Threads)?;
        let translated = runtime.block_on(self.read(resolves));
        // A look-up cannot be cancelled.
        runtime.shutdown_background();
        translated
    }

    async fn read(&self, resolves: bool) -> Result<TranslatedApps, Error> {
        let settings = self.typed.translation()?;
        let list = self.list().await?;
        let mut events = Vec::new();
        if resolves {
            events.extend(resolved(&list).await);
        }
        events.push(Event::Synced(list));
        if let Some(folder) = settings.certificates.clone() {
            let read = run_blocking(move || files::read_folder(folder)).await;
            events.push(read.map_err(Error::Certificates)?);
        }
        let mut state = State::new(state::Config {
            readiness: self.typed.marathon.readiness,
            ..state::Config::default()
        });
        for event in events {
            (state, _) = reduce(state, event);
        }
        let (labels, resources) = (settings.labels.clone(), settings.resources.clone());
        Ok(TranslatedApps {
            projector: Projector::full(labels, resources, &state),
            state,
            settings,
        })
    }

    async fn list(&self) -> Result<List, Error> {
        let urls = self.input.iter().filter(|input| is_url(input)).count();
        if urls == 0 && !self.input.is_empty() {
            let files = self.input.clone();
            return run_blocking(move || list_of_files(&files)).await;
        }
        if urls != self.input.len() {
            return Err(Error::Mixed);
        }
        let mut typed = self.typed.clone();
        if urls > 0 {
            let bases = self.input.iter().flat_map(|input| input.split(','));
            typed.marathon.bases = bases.map(str::to_owned).collect();
        }
        let list = marathon::list(typed.subscription()?, &Metrics::new()?).await;
        list.map_err(Error::Marathon)
    }
}

fn is_url(input: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        let start = input.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })
}

/// The apps of all files.
fn list_of_files(files: &[String]) -> Result<List, Error> {
    let (mut apps, mut pods) = (Vec::new(), Vec::new());
    let mut places: BTreeMap<String, &String> = BTreeMap::new();
    for file in files {
        let content = content(file).map_err(|source| Error::File {
            file: file.clone(),
            source,
        })?;
        let json = serde_json::from_slice(&content).map_err(|source| Error::Json {
            file: file.clone(),
            source,
        })?;
        for mut app in apps_in(json).ok_or_else(|| Error::NoApps { file: file.clone() })? {
            if let Value::Object(fields) = &mut app {
                name_fully(fields);
                let id = fields.get("id").and_then(Value::as_str).unwrap_or_default();
                if let Some(first) = places.insert(id.to_owned(), file)
                    && !id.is_empty()
                {
                    return Err(Error::Twice {
                        id: id.to_owned(),
                        first: first.clone(),
                        second: file.clone(),
                    });
                }
            }
            match pod_status(app) {
                Ok(pod) => pods.push(pod),
                Err(app) => apps.push(with_tasks(app)),
            }
        }
    }
    let all = Value::Object(Map::from_iter([("apps".to_owned(), Value::Array(apps))]));
    let list = translate::apps(all.to_string().as_bytes())?;
    let pods = translate::pods(Value::Array(pods).to_string().as_bytes())?;
    Ok(list.with_pods(pods))
}

/// The status of a pod, where the document is one, or the definition of a pod, which nobody started.
///
/// # Errors
///
/// The document where it is of an app.
fn pod_status(document: Value) -> Result<Value, Value> {
    let has = |key: &str, is: fn(&Value) -> bool| document.get(key).is_some_and(is);
    if has("spec", Value::is_object) {
        return Ok(document);
    }
    if !has("containers", Value::is_array) {
        return Err(document);
    }
    let id = document.get("id").cloned().unwrap_or_default();
    Ok(Value::Object(Map::from_iter([
        ("id".to_owned(), id),
        ("spec".to_owned(), document),
    ])))
}

fn content(file: &str) -> io::Result<Vec<u8>> {
    if file != "-" {
        return std::fs::read(Path::new(file));
    }
    let mut content = Vec::new();
    io::stdin().lock().read_to_end(&mut content)?;
    Ok(content)
}

/// The apps and pods in a document of Marathon's: a list, an answer with one, or one of them, bare or
/// in an answer.
fn apps_in(document: Value) -> Option<Vec<Value>> {
    match document {
        Value::Array(apps) => Some(apps),
        Value::Object(mut fields) => {
            if let Some(Value::Array(apps)) = fields.remove("apps") {
                return Some(apps);
            }
            if let Some(app @ Value::Object(_)) = fields.remove("app") {
                return Some(vec![app]);
            }
            fields.contains_key("id").then(|| vec![fields.into()])
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Completes an app that does not come from Marathon's list with tasks: it has none.
fn with_tasks(mut app: Value) -> Value {
    if let Value::Object(fields) = &mut app {
        let tasks = fields.entry("tasks").or_insert(Value::Null);
        if tasks.is_null() {
            *tasks = Value::Array(Vec::new());
        }
    }
    app
}

/// Lets the path of a definition that was never posted begin at the root.
fn name_fully(app: &mut Map<String, Value>) {
    if let Some(Value::String(id)) = app.get_mut("id")
        && !id.is_empty()
        && !id.starts_with('/')
    {
        id.insert(0, '/');
    }
}

/// What the names of the agents of all tasks resolve to.
async fn resolved(list: &List) -> Vec<Event> {
    let tasks = list.apps.iter().flat_map(|app| &app.tasks);
    let hosts = tasks.filter_map(|task| task.host.clone());
    let is_name = |host: &AgentHost| host.as_str().parse::<IpAddr>().is_err();
    let names: std::collections::BTreeSet<AgentHost> = hosts.filter(is_name).collect();
    let lookups = iter(names).map(|host| async move {
        let found = timeout(LOOKUP_LIMIT, lookup_host((host.as_str(), 0))).await;
        let found = found.ok().and_then(Result::ok).into_iter().flatten();
        let addresses = found.map(|address| address.ip()).collect();
        Event::HostResolved { host, addresses }
    });
    lookups.buffer_unordered(LOOKUPS_AT_A_TIME).collect().await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_an_answer_a_list_or_an_app() {
        let app = json!({ "id": "web" });
        for document in [
            json!({ "apps": [app] }),
            json!([app]),
            json!({ "app": app }),
            app.clone(),
        ] {
            assert_eq!(
                apps_in(document.clone()),
                Some(vec![app.clone()]),
                "{document}"
            );
        }
        for document in [json!({}), json!({ "apps": 1 }), json!(1), json!(null)] {
            assert_eq!(apps_in(document.clone()), None, "{document}");
        }
    }

    #[test]
    fn a_definition_that_nobody_started_has_no_tasks() {
        let mut app = Map::from_iter([("id".to_owned(), json!("web"))]);
        name_fully(&mut app);
        let app = with_tasks(app.into());
        assert_eq!(app, json!({ "id": "/web", "tasks": [] }));
    }

    #[test]
    fn a_pod_is_read_from_its_status_or_its_definition() {
        let pod = json!({ "id": "/pod", "containers": [{ "name": "web" }] });
        let status =
            |instances: Value| json!({ "id": "/pod", "spec": pod, "instances": instances });
        let started = status(json!([{ "id": "pod.instance-1" }]));
        let nowhere = json!({ "id": "/pod", "spec": pod });
        assert_eq!(pod_status(pod.clone()), Ok(nowhere));
        assert_eq!(pod_status(started.clone()), Ok(started));
        let app = json!({ "id": "/web", "container": { "docker": {} } });
        assert_eq!(pod_status(app.clone()), Err(app));
    }

    #[test]
    fn apps_and_pods_are_read_together() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: Value| {
            let path = folder.path().join(name);
            std::fs::write(&path, content.to_string()).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let pod = json!({
            "id": "pod",
            "containers": [{ "name": "web", "endpoints": [{ "name": "http", "hostPort": 0 }] }],
        });
        let files = [
            file("apps.json", json!({ "apps": [{ "id": "/web" }] })),
            file("pods.json", json!([pod])),
        ];
        let list = list_of_files(&files).unwrap();
        let read = list
            .apps
            .iter()
            .map(|listed| (listed.app.id.as_str(), listed.app.is_pod()));
        assert_eq!(read.collect::<Vec<_>>(), [("/web", false), ("/pod", true)]);
        let twice = [files[1].clone(), file("again.json", pod)];
        assert!(matches!(list_of_files(&twice), Err(Error::Twice { .. })));
    }
}
