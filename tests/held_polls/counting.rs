//! The heap of the process, and frames of HTTP/2 of clients that add nothing to it.

use tokio::sync::Mutex;
use tokio::task::yield_now;

use crate::ALLOCATOR;

/// Held by the one test that counts: the heap is that of the process.
pub(super) static COUNTING: Mutex<()> = Mutex::const_new(());

/// Bytes that are allocated once every task has come to rest.
pub(super) async fn heap_at_rest() -> usize {
    for _ in 0..1_000 {
        yield_now().await;
    }
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Bytes that one more of what `open` opens holds, which is given the number of those before it:
/// the difference between `count` of them and twice as many. All stay open until then.
pub(super) async fn bytes_of_each<T>(count: usize, mut open: impl AsyncFnMut(usize) -> T) -> usize {
    let mut opened = Vec::with_capacity(2 * count);
    let mut measured = [0; 2];
    for (heap_at, many) in measured.iter_mut().zip([count, 2 * count]) {
        while opened.len() < many {
            opened.push(open(opened.len()).await);
        }
        *heap_at = heap_at_rest().await;
    }
    (measured[1] - measured[0]) / count
}

/// One frame of HTTP/2.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}
