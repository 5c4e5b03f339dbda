//! One function for many items, on all cores.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread::{available_parallelism, scope};

/// Number of items for which a thread is worth its start, at least.
const ITEMS_OF_A_THREAD: usize = 256;

/// Returns the results of `work` for each of the items, in their order. The calling thread does its
/// share, and waits for the others; few items are all its own. A panic of `work` goes on here.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = match items.len() / ITEMS_OF_A_THREAD {
        0 | 1 => return items.iter().map(work).collect(),
        useful => useful.min(available_parallelism().map_or(1, NonZero::get)),
    };
    let work = &work;
    scope(|scope| {
        let mut shares = items.chunks(items.len().div_ceil(threads));
        let own = shares.next().unwrap_or_default();
        let others: Vec<_> = shares
            .map(|share| scope.spawn(move || share.iter().map(work).collect::<Vec<_>>()))
            .collect();
        let mut results = Vec::with_capacity(items.len());
        results.extend(own.iter().map(work));
        for other in others {
            results.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        results
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread;

    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        for length in [0, 1, 2 * ITEMS_OF_A_THREAD, 10_000] {
            let items: Vec<usize> = (0..length).collect();
            assert_eq!(map(&items, |item| *item), items);
        }
    }

    #[test]
    fn only_many_items_are_shared_among_threads() {
        let threads = |length| {
            let threads = map(&vec![(); length], |()| thread::current().id());
            let ids: BTreeSet<String> = threads.iter().map(|id| format!("{id:?}")).collect();
            ids.len()
        };
        assert_eq!(threads(2 * ITEMS_OF_A_THREAD - 1), 1);
        let cores = available_parallelism().map_or(1, NonZero::get);
        assert_eq!(threads(2 * ITEMS_OF_A_THREAD), cores.min(2));
    }

    #[test]
    #[should_panic(expected = "item 9000")]
    fn a_panic_is_not_swallowed() {
        let items: Vec<usize> = (0..10_000).collect();
        map(&items, |item| assert_ne!(*item, 9_000, "item {item}"));
    }
}
