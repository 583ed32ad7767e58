//! The progress bar of a bulk, where there is a terminal to show it on.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// Shows how far a bulk is; shows nothing where standard error is no terminal. Gone from the terminal when dropped.
#[derive(Debug)]
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// A bar for so many devices. `shares_terminal`: lines are printed to the same terminal meanwhile, which a bar would
    /// tear apart.
    pub fn new(devices: usize, shares_terminal: bool) -> Self {
        let shown = std::io::stderr().is_terminal() && !(shares_terminal && std::io::stdout().is_terminal());
        Self(shown.then(|| {
            let template = "{wide_bar} {pos}/{len} devices, {per_sec}{msg}, {eta} left";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(devices as u64).with_style(style)
        }))
    }

    /// One more device has answered; so many have failed.
    pub fn advance(&self, failed: usize) {
        if let Some(bar) = &self.0 {
            if failed > 0 {
                bar.set_message(format!(", {failed} failed"));
            }
            bar.inc(1);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
