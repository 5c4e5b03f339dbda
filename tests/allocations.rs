//! How much a task event and a changed label allocate: no more among many apps than among few.

#[path = "../benches/support/mod.rs"]
mod support;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{Edge, label_event, task_event};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations of one task event on an edge with that many apps.
fn allocations(apps: usize) -> usize {
    let mut edge = Edge::new(apps);
    // A change of labels and back, so that everything has been made once.
    edge.apply(label_event(apps, true));
    edge.apply(label_event(apps, false));
    edge.apply(task_event(apps, false));
    let event = task_event(apps, true);
    let snapshot = edge.reader().current();
    let region = Region::new(ALLOCATOR);
    edge.apply(event);
    let allocations = region.change().allocations;
    let published = edge.reader().current();
    assert!(snapshot.is_some() && published.is_some());
    allocations
}

/// Allocations of the projection and publication of a changed label, on an edge with that many apps.
fn of_a_label(apps: usize) -> usize {
    let mut edge = Edge::new(apps);
    edge.apply(label_event(apps, true));
    edge.apply(label_event(apps, false));
    let after = edge.reduced(label_event(apps, true));
    let snapshot = edge.reader().current();
    let region = Region::new(ALLOCATOR);
    edge.publish(after);
    let allocations = region.change().allocations;
    assert!(snapshot.is_some());
    allocations
}

#[test]
fn a_changed_label_allocates_among_10_000_apps_little_more_than_among_100() {
    let (few, many) = (of_a_label(100), of_a_label(10_000));
    println!("allocations of one changed label: {few} among 100 apps, {many} among 10,000");
    assert!(
        2 * many <= 3 * few,
        "{few} among 100 apps, {many} among 10,000"
    );
}

#[test]
fn a_task_event_allocates_among_10_000_apps_at_most_twice_what_it_does_among_100() {
    let (few, many) = (allocations(100), allocations(10_000));
    println!("allocations of one task event: {few} among 100 apps, {many} among 10,000");
    assert!(many <= 2 * few, "{few} among 100 apps, {many} among 10,000");
}
