//! Steps for any table.

mod optimize_window;
mod stack;

pub use optimize_window::OptimizeWindow;
pub use stack::Stack;
