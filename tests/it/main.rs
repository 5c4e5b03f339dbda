//! Tests from outside, one binary: one file per journey, and what holds the code tidy.

#[cfg(test)]
mod start;
mod support;
mod tidy;
