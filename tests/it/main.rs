//! Tests from outside, one binary: one file per journey, and what holds the code tidy.

#[cfg(test)]
mod start;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tidy;
