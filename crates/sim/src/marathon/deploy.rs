//! Changes of definitions, and the deployments that carry them out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::app::{App, Invalid, normal_id, parent};
use super::rollout::{replace, scale, stop};
use super::shared::Shared;
use super::world::{Action, Deployment, World};

/// Time from `deployment_info` until the new definition is visible.
const ROOT_STORE: Duration = Duration::from_millis(1);

/// A change that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The deployment that carries it out.
    pub deployment: String,
    /// The new version.
    pub version: String,
    /// True if the app is new.
    pub created: bool,
}

/// A change that was refused: what the wire answers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            body: json!({ "message": message.into() }),
        }
    }

    pub(super) fn no_pod(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("Pod '{id}' does not exist"))
    }

    pub(super) fn no_app(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("App '{id}' does not exist"))
    }
}

impl From<Invalid> for Refusal {
    fn from(Invalid(message): Invalid) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            body: json!({ "message": "Object is not valid", "details": [{ "path": "/", "errors": [message] }] }),
        }
    }
}

/// The origin of a request, as `api_post_event` tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) client: &'a str,
    /// True: a POST, which creates an app and updates none.
    pub(super) is_post: bool,
}

/// A change of an app or a pod.
enum Change<'a> {
    Put {
        request: &'a Map<String, Value>,
        origin: Origin<'a>,
    },
    /// Creates a pod, or replaces its definition.
    PutPod {
        request: &'a Map<String, Value>,
        origin: Origin<'a>,
    },
    Restart,
    Delete,
}

/// Creates a pod, or replaces its definition.
///
/// # Errors
/// The refusal that the wire answers.
pub(super) async fn put_pod(
    shared: &Arc<Shared>,
    id: &str,
    request: &Map<String, Value>,
    force: bool,
    origin: Origin<'_>,
) -> Result<Accepted, Refusal> {
    let id = normal_id(id);
    let is_taken = |world: &World| {
        let known = world.root.get(&id);
        known.is_some_and(|known| origin.is_post || !known.is_pod())
    };
    if shared.peek(is_taken) {
        let message = format!("Pod \"{id}\" already exists");
        return Err(Refusal::new(StatusCode::CONFLICT, message));
    }
    change(shared, &id, force, Change::PutPod { request, origin }).await
}

/// Creates or updates an app; the fields of an update are laid over what it was.
///
/// # Errors
/// The refusal that the wire answers.
pub(super) async fn put(
    shared: &Arc<Shared>,
    id: &str,
    request: &Map<String, Value>,
    force: bool,
    origin: Origin<'_>,
) -> Result<Accepted, Refusal> {
    let id = normal_id(id);
    if id == "/" {
        return Err(Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Object is not valid",
        ));
    }
    if origin.is_post && shared.peek(|world| world.root.contains_key(&id)) {
        let message = format!("An app with id [{id}] already exists.");
        return Err(Refusal::new(StatusCode::CONFLICT, message));
    }
    change(shared, &id, force, Change::Put { request, origin }).await
}

/// Ends these tasks, and scales their app down by as many.
///
/// # Errors
/// The refusal that the wire answers, also when they are not all of one app.
pub(super) async fn kill_and_scale(
    shared: &Arc<Shared>,
    tasks: &[String],
    origin: Origin<'_>,
) -> Result<Accepted, Refusal> {
    let scaled = shared.with(|world| {
        let mut apps = BTreeSet::new();
        for instance in world.instances.values_mut() {
            if tasks.contains(&instance.task_id()) {
                instance.sentenced = true;
                apps.insert(instance.app.id.clone());
            }
        }
        let id = apps.pop_first().filter(|_| apps.is_empty())?;
        let left = world.root.get(&id)?.instances.saturating_sub(tasks.len());
        Some((id, left))
    });
    let (id, instances) = scaled.ok_or_else(|| {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "No matching tasks found, or of several apps",
        )
    })?;
    let update = Map::from_iter([("instances".to_owned(), json!(instances))]);
    put(shared, &id, &update, true, origin).await
}

/// Replaces every task of an app, by a new version of the same definition.
///
/// # Errors
/// The refusal that the wire answers.
pub(super) async fn restart(
    shared: &Arc<Shared>,
    id: &str,
    force: bool,
) -> Result<Accepted, Refusal> {
    change(shared, &normal_id(id), force, Change::Restart).await
}

/// Deletes an app.
///
/// # Errors
/// The refusal that the wire answers.
pub(super) async fn delete(
    shared: &Arc<Shared>,
    id: &str,
    force: bool,
) -> Result<Accepted, Refusal> {
    change(shared, &normal_id(id), force, Change::Delete).await
}

/// A deployment that is about to run.
struct Plan {
    id: String,
    app: Arc<App>,
    /// `None` once it is deleted.
    target: Option<Arc<App>>,
    /// The event that the request makes behind that of the group.
    post: Option<(&'static str, Value)>,
    cancel: CancellationToken,
    accepted: Accepted,
}

/// The order inside one change: the deployment starts, the root is stored, then replaced in memory,
/// and only then `group_change_success` and `api_post_event` follow.
async fn change(
    shared: &Arc<Shared>,
    id: &str,
    force: bool,
    change: Change<'_>,
) -> Result<Accepted, Refusal> {
    let plan = shared.with(|world| begin(world, id, force, &change))?;
    let accepted = plan.accepted.clone();
    let (app, target, deployment) = (Arc::clone(&plan.app), plan.target.clone(), plan.id.clone());
    let post = plan.post;
    let store = |world: &mut World| {
        match target {
            Some(target) => {
                world
                    .versions
                    .entry(target.id.clone())
                    .or_default()
                    .push(Arc::clone(&target));
                world.root.insert(target.id.clone(), target);
            }
            None => {
                world.root.remove(&app.id);
            }
        }
        let fields = json!({ "groupId": parent(&app.id), "version": accepted.version });
        world.publish("group_change_success", fields);
        if let Some((event_type, fields)) = post {
            world.publish(event_type, fields);
        }
    };
    let owner = Arc::clone(shared);
    let (target, cancel) = (plan.target, plan.cancel);
    let carry_out = async move {
        tokio::select! {
            biased;
            // What cancelled it has told so and taken it off the list.
            () = cancel.cancelled() => {}
            () = run(&owner, &deployment, &plan.app, target.as_ref()) => {}
        }
    };
    tokio::time::sleep(ROOT_STORE).await;
    shared.with(store);
    shared.spawn(carry_out);
    Ok(plan.accepted)
}

/// Checks a change, makes its plan, and tells that its first step starts.
fn begin(world: &mut World, id: &str, force: bool, change: &Change<'_>) -> Result<Plan, Refusal> {
    let old = world.root.get(id).cloned();
    let (target, steps, post) = match change {
        Change::Put { request, origin } => {
            let used = world.service_ports_besides(id);
            let new = App::from_request(id, request, old.as_deref(), &used)?;
            let same = old.as_ref().is_some_and(|old| old.same_config(&new));
            let steps = match &old {
                None => vec![Action::Start, Action::Scale],
                Some(old) if same && old.instances == new.instances => Vec::new(),
                Some(_) if same => vec![Action::Scale],
                Some(_) => vec![Action::Restart],
            };
            let version = match &old {
                Some(old) if steps.is_empty() => old.version.clone(),
                Some(_) | None => world.clock.stamp(),
            };
            let new = if steps.is_empty() {
                new.at_version(&version, old.as_deref(), true)
            } else {
                new.at_version(&version, old.as_deref(), same)
            };
            let uri = match origin.is_post {
                true => "/v2/apps".to_owned(),
                false => format!("/v2/apps/{id}"),
            };
            let definition = &new.json;
            let post =
                json!({ "clientIp": origin.client, "uri": uri, "appDefinition": definition });
            (Some(Arc::new(new)), steps, Some(("api_post_event", post)))
        }
        Change::PutPod { request, origin } => {
            let new = App::from_pod_request(id, request)?;
            let same = old.as_ref().is_some_and(|old| old.same_config(&new));
            let steps = match &old {
                None => vec![Action::Start, Action::Scale],
                Some(_) if same => vec![Action::Scale],
                Some(_) => vec![Action::Restart],
            };
            let version = world.clock.stamp();
            let new = new.at_version(&version, old.as_deref(), same);
            let (event_type, uri) = match origin.is_post {
                // It does not name the pod.
                true => ("pod_created_event", "/v2/pods".to_owned()),
                false => ("pod_updated_event", format!("/v2/pods/{id}")),
            };
            let fields = json!({ "clientIp": origin.client, "uri": uri });
            (Some(Arc::new(new)), steps, Some((event_type, fields)))
        }
        Change::Restart => {
            let old = old.as_deref().ok_or_else(|| Refusal::no_app(id))?;
            let version = world.clock.stamp();
            let new = old.clone().at_version(&version, None, false);
            (Some(Arc::new(new)), vec![Action::Restart], None)
        }
        Change::Delete => {
            if old.is_none() {
                return Err(Refusal::no_app(id));
            }
            let is_pod = old.as_ref().is_some_and(|old| old.is_pod());
            let deleted = is_pod.then(|| {
                let uri = format!("/v2/pods/{id}");
                (
                    "pod_deleted_event",
                    json!({ "clientIp": "127.0.0.1", "uri": uri }),
                )
            });
            (None, vec![Action::Stop], deleted)
        }
    };
    let app = match (&target, &old) {
        (Some(app), _) | (None, Some(app)) => Arc::clone(app),
        (None, None) => return Err(Refusal::no_app(id)),
    };
    unlock(world, id, force)?;
    let version = match &target {
        Some(target) => target.version.clone(),
        None => world.clock.stamp(),
    };
    let deployment = world.clock.uuid();
    let cancel = CancellationToken::new();
    let has_steps = !steps.is_empty();
    world.deployments.insert(
        deployment.clone(),
        Deployment {
            app: id.to_owned(),
            is_pod: app.is_pod(),
            version: version.clone(),
            steps,
            step: 1,
            cancel: cancel.clone(),
            ready: BTreeMap::new(),
        },
    );
    // A plan without steps is only told when it is done.
    if has_steps {
        tell(world, &deployment, "deployment_info");
    }
    world.touch();
    let accepted = Accepted {
        deployment: deployment.clone(),
        version,
        created: old.is_none(),
    };
    Ok(Plan {
        id: deployment,
        app,
        target,
        post,
        cancel,
        accepted,
    })
}

/// Refuses a change of an app that a deployment works on, or ends that deployment by force.
fn unlock(world: &mut World, id: &str, force: bool) -> Result<(), Refusal> {
    let at_work: Vec<String> = world
        .deployments
        .iter()
        .filter(|(_, deployment)| deployment.app == id)
        .map(|(id, _)| id.clone())
        .collect();
    if at_work.is_empty() {
        return Ok(());
    }
    if !force {
        let ids: Vec<Value> = at_work.iter().map(|id| json!({ "id": id })).collect();
        let message = "App is locked by one or more deployments. Override with the option \
                       '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'.";
        return Err(Refusal {
            status: StatusCode::CONFLICT,
            body: json!({ "message": message, "deployments": ids }),
        });
    }
    for old in at_work {
        let plan = plan_json(world, &old);
        if let Some(deployment) = world.deployments.remove(&old) {
            deployment.cancel.cancel();
        }
        let reason = "The upgrade has been cancelled";
        let fields = json!({ "id": old, "plan": plan, "reason": reason });
        world.publish("deployment_failed", fields);
    }
    Ok(())
}

/// A plan as events show it, light.
fn plan_json(world: &World, id: &str) -> Value {
    let Some(deployment) = world.deployments.get(id) else {
        return Value::Null;
    };
    let steps: Vec<Value> = deployment
        .steps
        .iter()
        .map(|action| json!({ "actions": [action.json(&deployment.app, deployment.is_pod)] }))
        .collect();
    json!({ "id": id, "version": deployment.version, "steps": steps })
}

/// Publishes one of the events that name the plan and its current step.
fn tell(world: &mut World, id: &str, event_type: &str) {
    let plan = plan_json(world, id);
    let Some(deployment) = world.deployments.get(id) else {
        return;
    };
    let action = deployment.steps.get(deployment.step.saturating_sub(1));
    let actions: Vec<Value> = action
        .iter()
        .map(|action| action.json(&deployment.app, deployment.is_pod))
        .collect();
    let fields = json!({ "plan": plan, "currentStep": { "actions": actions } });
    world.publish(event_type, fields);
}

/// Carries a plan out, step by step.
async fn run(shared: &Arc<Shared>, id: &str, app: &Arc<App>, target: Option<&Arc<App>>) {
    let steps = shared.peek(|world| {
        world
            .deployments
            .get(id)
            .map(|deployment| deployment.steps.clone())
            .unwrap_or_default()
    });
    for (index, action) in steps.into_iter().enumerate() {
        if index > 0 {
            shared.with(|world| {
                if let Some(deployment) = world.deployments.get_mut(id) {
                    deployment.step = index + 1;
                }
                tell(world, id, "deployment_info");
            });
        }
        match (action, target) {
            // Creates it with 0 instances.
            (Action::Start, _) => {}
            (Action::Scale, Some(target)) => scale(shared, target).await,
            (Action::Restart, Some(target)) => replace(shared, target).await,
            (Action::Stop, _) | (Action::Scale | Action::Restart, None) => stop(shared, app).await,
        }
        shared.with(|world| tell(world, id, "deployment_step_success"));
    }
    shared.with(|world| {
        let plan = plan_json(world, id);
        world.deployments.remove(id);
        world.publish("deployment_success", json!({ "id": id, "plan": plan }));
    });
}
