//! The tasks of one app.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::app::{Task, TaskId};

/// Tasks by id. There are as many of these as there are apps, and few tasks in most: a sorted list
/// takes a pointer for each, where a persistent map takes a node of 400 bytes for the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskSet(Box<[Arc<Task>]>);

impl TaskSet {
    /// The tasks, by id.
    pub fn values(&self) -> std::slice::Iter<'_, Arc<Task>> {
        #[cfg(test)]
        super::looked_at::count(self.0.len());
        self.0.iter()
    }

    /// The ids, in order.
    pub fn keys(&self) -> impl Iterator<Item = &TaskId> {
        self.values().map(|task| &task.id)
    }

    /// The task of an id.
    pub fn get(&self, id: &TaskId) -> Option<&Arc<Task>> {
        let place = self.place(id).ok()?;
        self.0.get(place)
    }

    /// The tasks of the instance of a task, which stand beside it.
    pub(super) fn of_instance<'a>(&'a self, task: &'a Task) -> impl Iterator<Item = &'a Arc<Task>> {
        let place = self.place(&task.id).unwrap_or_else(|place| place);
        let (before, after) = self.0.split_at_checked(place).unwrap_or_default();
        let is_of_instance = |other: &&Arc<Task>| other.id.has_same_instance(&task.id);
        let before = before.iter().rev().take_while(is_of_instance);
        let tasks = before.chain(after.iter().take_while(is_of_instance));
        #[cfg(test)]
        let tasks = tasks.inspect(|_| super::looked_at::count(1));
        tasks
    }

    /// True if there is a task of an id.
    pub fn contains_key(&self, id: &TaskId) -> bool {
        self.place(id).is_ok()
    }

    /// Number of tasks.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Inserts a task, in the place of the one of its id.
    pub(super) fn insert(&mut self, task: Arc<Task>) {
        let place = self.place(&task.id);
        let mut tasks = std::mem::take(&mut self.0).into_vec();
        match place {
            Ok(place) => {
                if let Some(known) = tasks.get_mut(place) {
                    *known = task;
                }
            }
            Err(place) => {
                tasks.reserve_exact(1);
                tasks.insert(place, task);
            }
        }
        self.0 = tasks.into_boxed_slice();
    }

    /// Removes the tasks that are not `kept`.
    pub(super) fn retain(&mut self, kept: impl Fn(&Task) -> bool) {
        let mut tasks = std::mem::take(&mut self.0).into_vec();
        tasks.retain(|task| kept(task));
        self.0 = tasks.into_boxed_slice();
    }

    fn place(&self, id: &TaskId) -> Result<usize, usize> {
        self.0.binary_search_by(|task| task.id.cmp(id))
    }
}

impl FromIterator<Arc<Task>> for TaskSet {
    /// Of two tasks with one id the last counts.
    fn from_iter<I: IntoIterator<Item = Arc<Task>>>(tasks: I) -> Self {
        let tasks = tasks.into_iter().map(|task| (task.id.clone(), task));
        let sorted: BTreeMap<TaskId, Arc<Task>> = tasks.collect();
        Self(sorted.into_values().collect())
    }
}

#[cfg(test)]
impl std::ops::Index<&str> for TaskSet {
    type Output = Arc<Task>;

    fn index(&self, id: &str) -> &Arc<Task> {
        self.get(&id.into()).unwrap()
    }
}
