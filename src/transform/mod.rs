//! Steps for any table.

mod stack;

pub use stack::Stack;
