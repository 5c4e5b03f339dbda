//! The orders that a floor hears, and its replies: lines on its standard input and output.

use std::io::{self, Write as _};
use std::thread;

use tokio::sync::mpsc;

use crate::error::Error;

/// Orders that may wait; each is awaited before the next is given.
const ORDERS: usize = 1;

/// The lines of standard input, read on a thread of their own until it ends.
pub(super) fn orders() -> mpsc::Receiver<String> {
    let (sender, orders) = mpsc::channel(ORDERS);
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    orders
}

/// Replies with a line.
pub(super) fn reply(line: &str) -> Result<(), Error> {
    let mut output = io::stdout().lock();
    let printed = writeln!(output, "{line}").and_then(|()| output.flush());
    printed.map_err(Error::io("reply"))
}
