//! Count of the names that the current thread visited: the cost of a step without a clock.

use std::cell::Cell;

thread_local! {
    static NAMES: Cell<usize> = const { Cell::new(0) };
}

/// Adds `names` to the count. Access to a whole collection counts all of it.
pub(crate) fn count(names: usize) {
    NAMES.set(NAMES.get() + names);
}

/// Runs `step` and returns its result, and how many names it visited.
pub(crate) fn during<T>(step: impl FnOnce() -> T) -> (T, usize) {
    let before = NAMES.get();
    let result = step();
    (result, NAMES.get() - before)
}
