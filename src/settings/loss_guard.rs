//! The settings of the state: the guard against sudden losses, and readiness.

use super::bad_setting::BadSetting;
use super::typed::Typed;
use crate::state::Config;

impl Typed {
    /// The configuration of the state, of which most is the loss guard's.
    ///
    /// # Errors
    ///
    /// When a doubt would end before its second look.
    pub(super) fn loss_guard(&self) -> Result<Config, BadSetting> {
        let defaults = Config::default();
        if self.sudden_loss_deadline <= self.sudden_loss_delay {
            return Err(BadSetting {
                variable: "SUDDEN_LOSS_DEADLINE",
                value: self.sudden_loss_deadline.as_secs_f64().to_string(),
                why: format!(
                    "the second look at a sudden loss, {} s after it (SUDDEN_LOSS_DELAY), would \
                     come too late to confirm it",
                    self.sudden_loss_delay.as_secs_f64()
                ),
                remedy: "give it more seconds than SUDDEN_LOSS_DELAY; 60 is the default",
            });
        }
        Ok(Config {
            sudden_loss_percent: self.sudden_loss_percent,
            second_look_after: self.sudden_loss_delay,
            second_look_soon: defaults.second_look_soon.min(self.sudden_loss_delay),
            sudden_loss_deadline: self.sudden_loss_deadline,
            readiness: self.marathon.readiness,
        })
    }
}
