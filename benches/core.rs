//! What one event costs, from its parsed form to the published snapshot, by the number of apps
//! and of labels.

#[path = "support/many_labels.rs"]
mod many_labels;
mod support;

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use many_labels::LABELS;
use marathon_envoy::state::event::Event;
use support::{Edge, label_event, task_event};

const APPS: [usize; 3] = [100, 1_000, 10_000];

/// Apps of the edge on which events are measured by the number of labels.
const LABELLED_APPS: usize = 1_000;

fn events(criterion: &mut Criterion) {
    for (name, event) in [
        ("task event", task_event as EventOf),
        ("label change", label_event),
    ] {
        let mut group = criterion.benchmark_group(name);
        for apps in APPS {
            let id = BenchmarkId::from_parameter(apps);
            measure(&mut group, id, apps, Edge::new(apps), event);
        }
        group.finish();
    }
    let mut group = criterion.benchmark_group("task event by labels");
    for count in [0, LABELS.len() / 2, LABELS.len()] {
        let more = LABELS.get(..count).unwrap_or_default();
        let edge = Edge::with_labels(LABELLED_APPS, more);
        // Two more are the group and the host.
        let id = BenchmarkId::from_parameter(count + 2);
        measure(&mut group, id, LABELLED_APPS, edge, task_event);
    }
    group.finish();
}

/// An event of an app in the middle of so many, and its opposite.
type EventOf = fn(usize, bool) -> Event;

/// Measures an event and its opposite in turn, so that every one of them changes something.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    apps: usize,
    mut edge: Edge,
    event: EventOf,
) {
    let mut there = false;
    group.bench_function(id, |bencher| {
        bencher.iter_batched(
            || {
                there = !there;
                event(apps, there)
            },
            |event| edge.apply(event),
            // One by one: the events must be applied in the order in which they are made.
            criterion::BatchSize::PerIteration,
        );
    });
    black_box(edge.reader().current());
}

criterion_group!(core, events);
criterion_main!(core);
