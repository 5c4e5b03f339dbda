//! Marathon: follow its event stream, list its apps, and hand both on as facts.

mod ids;
pub mod translate;
mod wire;
