//! REST polls and delta streams as they are held, in a process of their own: its allocator counts.

#[cfg(test)]
mod counting;
#[cfg(test)]
mod polls;
#[cfg(test)]
mod streams;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;
