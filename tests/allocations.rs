//! Allocations of a task event and of a changed label, no more among many apps than among few; and
//! memory while a list of all apps arrives, which follows the apps and not the list.

#[path = "../benches/support/many_labels.rs"]
mod many_labels;
#[path = "../benches/support/mod.rs"]
mod support;

#[cfg(test)]
#[path = "allocations/held.rs"]
mod held;

use std::alloc::System;
use std::sync::{Mutex, PoisonError};

use many_labels::LABELS;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{Edge, label_event, task_event};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Held by each test: what is counted is the whole process's.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes that are allocated now.
fn held_bytes() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.wrapping_sub(stats.bytes_deallocated)
}

/// Allocations of one task event on an edge with that many apps.
fn allocations(apps: usize) -> usize {
    let mut edge = Edge::new(apps);
    // A change of labels and back, so that everything has been made once.
    edge.apply(label_event(apps, true));
    edge.apply(label_event(apps, false));
    of_a_task(edge, apps)
}

/// Allocations of one task event of this edge with that many apps.
fn of_a_task(mut edge: Edge, apps: usize) -> usize {
    edge.apply(task_event(apps, false));
    edge.apply(task_event(apps, true));
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
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (few, many) = (of_a_label(100), of_a_label(10_000));
    println!("allocations of one changed label: {few} among 100 apps, {many} among 10,000");
    assert!(
        2 * many <= 3 * few && few <= 67 && many <= 81,
        "{few} among 100 apps, {many} among 10,000"
    );
}

#[test]
fn a_task_event_allocates_among_10_000_apps_at_most_twice_what_it_does_among_100() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (few, many) = (allocations(100), allocations(10_000));
    println!("allocations of one task event: {few} among 100 apps, {many} among 10,000");
    assert!(many <= 2 * few, "{few} among 100 apps, {many} among 10,000");
}

#[test]
fn a_task_event_allocates_no_more_with_many_labels_than_with_two() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let of = |more| of_a_task(Edge::with_labels(100, more), 100);
    let (few, many) = (of(&[]), of(&LABELS));
    println!("allocations of one task event: {few} with two labels, {many} with 24 more");
    assert!(many <= few, "{few} with two labels, {many} with 24 more");
}

#[cfg(test)]
mod arriving_list {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, PoisonError};
    use std::time::Duration;

    use marathon_envoy::marathon::{self, BaseUrl, Config, LastHeard, new_status};
    use marathon_envoy::metrics::Metrics;
    use marathon_envoy::state::event::Event;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;
    use tokio::task::JoinSet;
    use tokio_util::sync::CancellationToken;

    use super::{ALONE, held_bytes};

    /// Answers every request: the first for the event stream, the others for a list of so many apps, of
    /// 40 KB each. `peak` is the most that was held at any of them.
    async fn serve(mut socket: TcpStream, apps: usize, peak: Arc<AtomicUsize>) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        if head.starts_with(b"GET /v2/events") {
            let stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n\
             event: event_stream_attached\r\ndata: {}\r\n\r\n";
            socket.write_all(stream.as_bytes()).await.unwrap();
            return std::future::pending().await;
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        let unread = "x".repeat(40_000);
        for number in 0..apps {
            let before = if number == 0 { "{\"apps\":[" } else { "," };
            let app =
                format!(r#"{before}{{"id":"/{number}","cmd":"{unread}","tasks":[{{"id":"t"}}]}}"#);
            socket.write_all(app.as_bytes()).await.unwrap();
            peak.fetch_max(held_bytes(), Ordering::Relaxed);
        }
        socket.write_all(b"]}").await.unwrap();
    }

    /// Bytes held at most while a list of so many apps arrives, beyond those held once it is known.
    async fn bytes_beyond_the_list(apps: usize) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peak = Arc::new(AtomicUsize::new(0));
        let of_server = Arc::clone(&peak);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                connections.spawn(serve(socket, apps, Arc::clone(&of_server)));
            }
        });
        let (facts, mut received) = mpsc::channel(1);
        let (_stale, asks) = mpsc::channel(1);
        let subscriber = marathon::run(
            Config {
                head_patience: Duration::from_secs(60),
                ..Config::new(vec![BaseUrl::parse(&format!("http://{address}")).unwrap()])
            },
            facts,
            asks,
            LastHeard::default(),
            new_status(),
            Metrics::new().unwrap(),
            CancellationToken::new(),
        );
        tasks.spawn(async { subscriber.await.unwrap() });
        let message = received.recv().await.unwrap();
        let beyond = peak.load(Ordering::Relaxed).saturating_sub(held_bytes());
        let [Event::Synced(list)] = &message.value[..] else {
            panic!("{} facts", message.value.len());
        };
        assert_eq!(list.apps.len(), apps);
        beyond
    }

    #[test]
    fn no_more_of_a_list_is_held_than_its_last_megabytes_however_long_it_is() {
        // Released after the runtime, whose end gives back what its tasks hold.
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        for megabytes in [12, 48] {
            let beyond = runtime.block_on(bytes_beyond_the_list(megabytes * 25));
            println!("held beyond a list of {megabytes} MB: {beyond} bytes");
            assert!(beyond < 8_000_000, "{megabytes} MB: {beyond} bytes");
        }
    }
}
