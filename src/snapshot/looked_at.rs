//! Count of the names that the current thread looked at: what a step costs, without a clock.

use std::cell::Cell;

thread_local! {
    static NAMES: Cell<usize> = const { Cell::new(0) };
}

/// Counts `names` more. Who is handed a whole collection is taken to look at all of it.
pub(crate) fn count(names: usize) {
    NAMES.set(NAMES.get() + names);
}

/// Runs `step` and answers how many names it looked at, beside its own result.
pub(crate) fn during<T>(step: impl FnOnce() -> T) -> (T, usize) {
    let before = NAMES.get();
    let result = step();
    (result, NAMES.get() - before)
}
