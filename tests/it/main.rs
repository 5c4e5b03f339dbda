//! Tests from outside, one binary: one file per journey, golden cases, and what holds the code tidy.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod manual;
#[cfg(test)]
mod program;
#[cfg(test)]
mod rejections;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod start;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod tls;
