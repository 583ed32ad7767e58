//! The progress bar of a bulk, where there is a terminal to show it on.

use indicatif::{ProgressBar, ProgressStyle};
use std::cell::RefCell;
use std::io::IsTerminal;

/// Shows how far a bulk is; shows nothing where standard error is no terminal. Gone from the terminal when dropped.
#[derive(Debug)]
pub struct Progress {
    devices: u64,
    is_possible: bool,
    bar: RefCell<Option<ProgressBar>>,
}

impl Progress {
    /// A bar for so many devices. `json`: a program reads, and no bar is shown.
    pub fn new(devices: usize, json: bool) -> Self {
        let is_possible = std::io::stderr().is_terminal() && !json;
        let progress = Self { devices: devices as u64, is_possible, bar: RefCell::new(None) };
        progress.show();
        progress
    }

    /// So many devices have answered; the text beside the bar is made only where there is one.
    pub fn advance(&self, done: usize, text: impl FnOnce() -> String) {
        if let Some(bar) = &*self.bar.borrow() {
            bar.set_position(done as u64);
            bar.set_message(text());
        }
    }

    /// Runs what prints lines, above the bar.
    pub fn above(&self, print: impl FnOnce()) {
        match &*self.bar.borrow() {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Takes the bar off the terminal, which is needed for something else.
    pub fn hide(&self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Brings it back where it is not there.
    pub fn show(&self) {
        if !self.is_possible || self.bar.borrow().is_some() {
            return;
        }
        let style = ProgressStyle::with_template("{bar:24} {wide_msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        *self.bar.borrow_mut() = Some(ProgressBar::new(self.devices).with_style(style));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.hide();
    }
}
