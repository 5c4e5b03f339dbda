//! The handle of a running cluster: everything that can be done to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::config::{Config, LeaderChange, ListFault};
use super::dcos::Logins;
use super::deploy::{self, Accepted, Origin};
use super::shared::Shared;
use super::view::TaskView;
use super::world::{Frame, Node, World};
use super::{Error, agent, node};
use crate::port::Port;

/// The client address of commands that come through the handle.
const LOCAL: Origin<'static> = Origin {
    client: "127.0.0.1",
    is_post: false,
};

/// A running Marathon of one or several instances. Dropping it ends everything that it started,
/// backends included.
#[derive(Debug)]
pub struct Cluster {
    pub(super) shared: Arc<Shared>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shared.take_tasks().abort_all();
    }
}

impl Cluster {
    /// Starts every instance, the first one leading; returns once all listen.
    ///
    /// # Errors
    /// [`Error::Bind`].
    pub async fn start(config: Config) -> Result<Self, Error> {
        let mut nodes = Vec::new();
        let mut processes = Vec::new();
        for &address in &config.nodes {
            let refused = |source| Error::Bind { address, source };
            let port = Port::bind(address).map_err(refused)?;
            let (wanted, receiver) = watch::channel(true);
            nodes.push(Node {
                address: port.address(),
                wanted,
                listening: false,
            });
            processes.push((port, receiver));
        }
        let world = World::new(&config, nodes);
        let shared = Arc::new(Shared::new(config, world));
        for (index, (port, wanted)) in processes.into_iter().enumerate() {
            shared.spawn(node::run(Arc::clone(&shared), index, port, wanted));
            node::turn(&shared, index, true).await;
        }
        Ok(Self { shared })
    }

    /// Ends everything and waits until it has ended.
    pub async fn shutdown(self) {
        self.shared.take_tasks().shutdown().await;
    }

    /// The base URL of every instance, in the order of [`Config::nodes`].
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let scheme = self.shared.peek(|world| world.scheme);
        self.addresses()
            .iter()
            .map(|address| format!("{scheme}://{address}"))
            .collect()
    }

    /// The address of every instance.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.shared
            .peek(|world| world.nodes.iter().map(|node| node.address).collect())
    }

    // Apps

    /// `POST /v2/apps`: creates an app.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn create_app(&self, definition: Value) -> Result<Accepted, Error> {
        let fields = fields(definition);
        let id = fields
            .get("id")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let origin = Origin {
            is_post: true,
            ..LOCAL
        };
        Ok(deploy::put(&self.shared, &id, &fields, false, origin).await?)
    }

    /// `PUT /v2/apps/{id}?force=true`: lays `fields` over the definition, or creates the app.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn update_app(&self, id: &str, update: Value) -> Result<Accepted, Error> {
        Ok(deploy::put(&self.shared, id, &fields(update), true, LOCAL).await?)
    }

    /// Wants this many tasks.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn scale(&self, id: &str, instances: usize) -> Result<Accepted, Error> {
        self.update_app(id, json!({ "instances": instances })).await
    }

    /// `POST /v2/tasks/delete?scale=true`: ends these tasks of one app, and none takes their place.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn kill_and_scale(&self, tasks: &[String]) -> Result<Accepted, Error> {
        Ok(deploy::kill_and_scale(&self.shared, tasks, LOCAL).await?)
    }

    /// `POST /v2/apps/{id}/restart?force=true`: replaces every task.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn restart(&self, id: &str) -> Result<Accepted, Error> {
        Ok(deploy::restart(&self.shared, id, true).await?)
    }

    /// `DELETE /v2/apps/{id}?force=true`, or of a pod, `DELETE /v2/pods/{id}?force=true`.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn delete(&self, id: &str) -> Result<Accepted, Error> {
        Ok(deploy::delete(&self.shared, id, true).await?)
    }

    // Pods

    /// `POST /v2/pods`: creates a pod.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn create_pod(&self, definition: Value) -> Result<Accepted, Error> {
        let origin = Origin {
            is_post: true,
            ..LOCAL
        };
        self.put_pod(definition, origin).await
    }

    /// `PUT /v2/pods/{id}?force=true`: replaces the definition of a pod, or creates it. One that
    /// differs in the number of instances alone replaces none.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn update_pod(&self, definition: Value) -> Result<Accepted, Error> {
        self.put_pod(definition, LOCAL).await
    }

    async fn put_pod(&self, definition: Value, origin: Origin<'_>) -> Result<Accepted, Error> {
        let fields = fields(definition);
        let id = fields.get("id").and_then(Value::as_str);
        let id = id.unwrap_or_default().to_owned();
        Ok(deploy::put_pod(&self.shared, &id, &fields, !origin.is_post, origin).await?)
    }

    /// Lets every list of pods fail with this HTTP status, or work again.
    pub fn fail_lists_of_pods(&self, status: Option<u16>) {
        self.shared.with(|world| world.pods_fault = status);
    }

    // Tasks and agents

    /// Switches `/health` of one task.
    ///
    /// # Errors
    /// [`Error::NoTask`].
    pub fn set_task_health(&self, task: &str, healthy: bool) -> Result<(), Error> {
        let view = self.task(task)?;
        if let Some(control) = view.control {
            control.set_healthy(healthy);
        }
        Ok(())
    }

    /// Makes one task ready, or not.
    ///
    /// # Errors
    /// [`Error::NoTask`].
    pub fn set_task_ready(&self, task: &str, ready: bool) -> Result<(), Error> {
        let view = self.task(task)?;
        if let Some(control) = view.control {
            control.set_ready(ready);
        }
        Ok(())
    }

    /// Whether tasks that start from now on are not ready until [they are
    /// made so](Self::set_task_ready).
    pub fn start_tasks_unready(&self, unready: bool) {
        self.shared.with(|world| world.starts_unready = unready);
    }

    /// Ends a task's process at once, in the middle of its requests.
    ///
    /// # Errors
    /// [`Error::NoTask`].
    pub fn crash_task(&self, task: &str) -> Result<(), Error> {
        let view = self.task(task)?;
        if let Some(control) = view.control {
            control.crash();
        }
        Ok(())
    }

    fn task(&self, id: &str) -> Result<TaskView, Error> {
        let task = self.view().tasks.into_iter().find(|task| task.id == id);
        task.filter(|task| task.control.is_some())
            .ok_or_else(|| Error::NoTask(id.to_owned()))
    }

    /// Cuts an agent, by position, from the master while its tasks serve on.
    pub fn lose_agent(&self, agent: usize) {
        agent::lose_agent(&self.shared, agent);
    }

    /// Brings an agent back: known tasks run again, forgotten ones are killed.
    pub fn return_agent(&self, agent: usize) {
        agent::return_agent(&self.shared, agent);
    }

    /// Puts a new, empty machine in the place of an agent, by position, under the same host name
    /// and address. Nothing is heard of the old one any more: what ran there stays unreachable if
    /// it was [lost](Self::lose_agent) before. Returns when its ports are free.
    pub async fn replace_agent(&self, agent: usize) {
        agent::replace_agent(&self.shared, agent).await;
    }

    /// Keeps health checks from running; results stay as they are, or as a new leader has them.
    pub fn hold_health_checks(&self, held: bool) {
        self.shared.with(|world| world.health_held = held);
    }

    // Instances and leadership

    /// Takes the lead from one instance and gives it to the next; returns when the new leader has
    /// repeated every status.
    pub async fn change_leader(&self, change: LeaderChange) {
        node::change_leader(&self.shared, change).await;
    }

    /// Ends one instance's process without an election. Tasks run on.
    pub async fn stop_node(&self, node: usize) {
        node::turn(&self.shared, node, false).await;
    }

    /// Starts one instance's process again, on the same port.
    pub async fn start_node(&self, node: usize) {
        node::turn(&self.shared, node, true).await;
    }

    /// Ends every instance. Tasks run on, and the next start finds everything as it was.
    pub async fn stop(&self) {
        for node in 0..self.addresses().len() {
            self.stop_node(node).await;
        }
    }

    /// Starts every instance again, on the same ports.
    pub async fn start_again(&self) {
        for node in 0..self.addresses().len() {
            self.start_node(node).await;
        }
    }

    // Logins

    /// Ends every token of [`Config::dcos`] at once: whoever shows one is refused.
    pub fn forget_tokens(&self) {
        self.shared.with(|world| world.gate.forget());
    }

    /// Lets the login service of [`Config::dcos`] fail, or work again.
    pub fn fail_logins(&self, fail: bool) {
        self.shared.with(|world| world.gate.fail(fail));
    }

    /// The counts of logins at [`Config::dcos`] and of requests with tokens so far.
    #[must_use]
    pub fn logins(&self) -> Logins {
        self.shared.peek(|world| world.gate.logins())
    }

    // Streams and faults

    /// Stops the bytes of every open stream while its socket stays, for the rest of its life.
    pub fn freeze_streams(&self) {
        self.shared.with(|world| {
            world
                .streams
                .values()
                .for_each(|stream| stream.frozen.store(true, Ordering::SeqCst));
        });
    }

    /// Closes every open stream.
    pub fn cut_streams(&self) {
        self.shared.with(|world| {
            world
                .streams
                .values()
                .for_each(|stream| stream.close.cancel());
        });
    }

    /// Sends exactly these bytes to every open stream, past every filter.
    pub fn inject_frame(&self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        self.shared
            .with(|world| world.send(Frame { event: None, bytes }));
    }

    /// Publishes an event that nothing in the cluster has caused.
    pub fn inject_event(&self, event_type: &str, fields: Value) {
        self.shared.with(|world| world.publish(event_type, fields));
    }

    /// Lets the next `GET /v2/apps` that has no fault yet go wrong; faults queue up.
    pub fn fault_next_list(&self, fault: ListFault) {
        self.shared.with(|world| world.list_faults.push_back(fault));
    }

    /// While `lost`, a gateway in front of Marathon has no route to single apps and groups, and
    /// answers for them with a 404 of its own.
    pub fn lose_gateway(&self, lost: bool) {
        self.shared.with(|world| world.gateway_is_lost = lost);
    }

    /// Ends the next streams right after their 200, without an event.
    pub fn end_next_streams(&self, count: usize) {
        self.shared.with(|world| world.eof_streams += count);
    }

    /// Keeps back the answers to `GET /v2/apps`; each tells the state at its request, and leaves
    /// when this is called with `false`.
    pub fn hold_lists(&self, held: bool) {
        self.shared.lists_held.send_replace(held);
    }
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}
