//! Orders in which maps with many entries take the least memory.

use std::collections::BTreeMap;

use imbl::OrdMap;

/// Number of items from which on their order matters.
const MANY: usize = 64;

/// Number of items that are made and put into maps at a time: the items of a first list, all made
/// before any is in its place, would be held twice.
pub const BATCH: usize = 4_096;

/// Reorders items that come in the order of their keys, for a persistent map: every second one
/// first, then those between them.
///
/// A node that is full is split in the middle. Of keys in order only the last node grows, so all
/// others stay half full for good; those that come between them later fill them.
pub fn every_second_first<T>(items: Vec<T>) -> Vec<T> {
    if items.len() < MANY {
        return items;
    }
    let mut first = Vec::with_capacity(items.len());
    let mut between = Vec::with_capacity(items.len() / 2);
    for (place, item) in items.into_iter().enumerate() {
        match place % 2 {
            0 => first.push(item),
            _ => between.push(item),
        }
    }
    first.append(&mut between);
    first
}

/// Builds a map of the standard library anew, with full nodes, if `added` entries are most of it.
pub fn compact<K: Ord, V>(map: &mut BTreeMap<K, V>, added: usize) {
    if added >= MANY && 2 * added > map.len() {
        *map = std::mem::take(map).into_iter().collect();
    }
}

/// Builds a persistent map anew, with full nodes, if `added` entries are most of it.
pub fn compact_shared<K: Clone + Ord, V: Clone>(map: &mut OrdMap<K, V>, added: usize) {
    if added >= MANY && 2 * added > map.len() {
        let entries: Vec<(K, V)> = std::mem::take(map).into_iter().collect();
        *map = every_second_first(entries).into_iter().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_there_once() {
        for length in [0, 1, MANY - 1, MANY, MANY + 1, 1_000] {
            let items: Vec<usize> = (0..length).collect();
            let mut reordered = every_second_first(items.clone());
            assert_eq!(reordered == items, length < MANY);
            reordered.sort_unstable();
            assert_eq!(reordered, items);
        }
    }

    #[test]
    fn a_map_stays_the_same() {
        let entries = |to| (0..to).map(|key| (key, key));
        for added in [0, 40, 100, 200] {
            let mut map: BTreeMap<usize, usize> = entries(100).collect();
            map.extend(entries(100 + added));
            let mut shared: OrdMap<usize, usize> = map.clone().into_iter().collect();
            compact(&mut map, added);
            assert!(map.into_iter().eq(entries(100 + added)));
            compact_shared(&mut shared, added);
            assert!(shared.into_iter().eq(entries(100 + added)));
        }
    }
}
