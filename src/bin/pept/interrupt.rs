//! Ctrl-C, and what a batch system sends before it kills.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::Failure;

static WANTED: AtomicBool = AtomicBool::new(false);

/// From now on the first one asks for an end, the second one is the end.
pub(crate) fn watch() -> Result<(), Failure> {
    let stop = || {
        if WANTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130); // 128 + SIGINT, as shells do
        }
    };
    ctrlc::set_handler(stop)
        .map_err(|error| Failure::Failed(format!("cannot wait for Ctrl-C: {error}")))
}

/// Whether an end was asked for.
pub(crate) fn is_wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}
