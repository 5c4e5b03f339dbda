//! Lists whose rows are shown one by one: the page `/proxies`.

use std::num::NonZeroUsize;
use std::sync::Arc;

use serde_json::Value;

use super::json_text::array_page;
use super::page_body::PagePieces;
use super::query::{NamePattern, Parameter, Query};

/// One row of a list.
pub struct Row {
    /// The node id of its proxy.
    pub node: Arc<str>,
    /// Its key: rows are sorted by it, and pages begin after one.
    pub key: String,
    /// Makes its content when a page shows it. Must not block for long.
    pub show: Box<dyn FnOnce() -> Value + Send>,
}

/// Parameters of the page.
pub(super) const PARAMETERS: &[Parameter] = &[Parameter::Node, Parameter::Limit, Parameter::After];

/// The page of the rows that the query asks for, and the key of its last row if there are more
/// behind it.
pub(super) fn page(mut rows: Vec<Row>, query: &Query) -> (PagePieces, Option<String>) {
    let node = query.node.clone().map(NamePattern::from);
    rows.retain(|row| {
        node.as_ref().is_none_or(|node| node.matches(&row.node))
            && query.after.as_ref().is_none_or(|after| row.key > *after)
    });
    rows.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    let limit = query.limit.map_or(usize::MAX, NonZeroUsize::get);
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| has_more);
    let next = last.map(|last| last.key.clone());
    (array_page(rows.into_iter().map(|row| (row.show)())), next)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;

    fn rows(count: usize, shown: &Arc<AtomicUsize>) -> Vec<Row> {
        let row = |number: usize| {
            let shown = shown.clone();
            Row {
                node: format!("edge-{}", number % 2).into(),
                key: format!("{number:04}"),
                show: Box::new(move || {
                    shown.fetch_add(1, Ordering::Relaxed);
                    json!(number)
                }),
            }
        };
        (0..count).rev().map(row).collect()
    }

    fn numbers(query: &str, shown: &Arc<AtomicUsize>) -> (Vec<usize>, Option<String>) {
        let query = Query::parse(query, PARAMETERS).unwrap();
        let (pieces, next) = page(rows(10, shown), &query);
        (
            serde_json::from_str(&pieces.collect::<String>()).unwrap(),
            next,
        )
    }

    #[test]
    fn pages_follow_each_other_and_no_row_beyond_them_is_made() {
        let shown = Arc::new(AtomicUsize::new(0));
        assert_eq!(
            numbers("limit=4", &shown),
            (vec![0, 1, 2, 3], Some("0003".to_owned()))
        );
        assert_eq!(shown.load(Ordering::Relaxed), 4);
        let last = numbers("limit=6&after=0003", &shown);
        assert_eq!(last, ((4..10).collect(), None));
        let of_node = numbers("limit=1&node=edge-1&after=00021", &shown);
        assert_eq!(of_node, (vec![3], Some("0003".to_owned())));
        assert_eq!(numbers("node=edge*", &shown).0.len(), 10);
    }

    #[test]
    fn a_row_is_made_when_the_page_reaches_it() {
        let shown = Arc::new(AtomicUsize::new(0));
        let (mut pieces, _) = page(rows(5_000, &shown), &Query::default());
        assert!(shown.load(Ordering::Relaxed) <= 1);
        let mut taken = 0;
        while taken < 100 {
            taken += usize::from(
                pieces
                    .next()
                    .unwrap()
                    .chars()
                    .all(|one| one.is_ascii_digit()),
            );
        }
        assert!(shown.load(Ordering::Relaxed) <= 101);
    }
}
