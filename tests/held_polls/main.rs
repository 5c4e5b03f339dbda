//! REST polls and delta streams as they are held, in a process of their own: its allocator counts.

#[cfg(test)]
mod polls;
#[cfg(test)]
mod streams;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::sync::Mutex;
use tokio::task::yield_now;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Held by the one test that counts: the heap is that of the process.
static COUNTING: Mutex<()> = Mutex::const_new(());

/// Bytes that are allocated once every task has come to rest.
async fn heap_at_rest() -> usize {
    for _ in 0..1_000 {
        yield_now().await;
    }
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// One frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}
