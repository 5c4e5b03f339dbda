//! What one event costs, from its parsed form to the published snapshot, by the number of apps.

mod support;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use marathon_envoy::state::event::Event;
use support::{Edge, label_event, task_event};

const APPS: [usize; 3] = [100, 1_000, 10_000];

fn events(criterion: &mut Criterion) {
    measure(criterion, "task event", task_event);
    measure(criterion, "label change", label_event);
}

/// Measures an event and its opposite in turn, so that every one of them changes something.
fn measure(criterion: &mut Criterion, name: &str, event: fn(usize, bool) -> Event) {
    let mut group = criterion.benchmark_group(name);
    for apps in APPS {
        let mut edge = Edge::new(apps);
        let mut there = false;
        group.bench_function(BenchmarkId::from_parameter(apps), |bencher| {
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
    group.finish();
}

criterion_group!(core, events);
criterion_main!(core);
