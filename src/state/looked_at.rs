//! Count of the tasks that the current thread visited: the cost of a step without a clock.

use std::cell::Cell;

thread_local! {
    static TASKS: Cell<usize> = const { Cell::new(0) };
}

/// Adds `tasks` to the count. Access to all tasks of an app counts each of them.
pub(crate) fn count(tasks: usize) {
    TASKS.set(TASKS.get() + tasks);
}

/// Runs `step` and returns its result, and how many tasks it visited.
pub(crate) fn during<T>(step: impl FnOnce() -> T) -> (T, usize) {
    let before = TASKS.get();
    let result = step();
    (result, TASKS.get() - before)
}
