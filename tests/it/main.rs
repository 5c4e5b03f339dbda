//! Tests from outside, one binary: one file per journey, and what holds the code tidy.

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tidy;
