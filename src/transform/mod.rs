//! Steps for any table.

mod center;
mod condition;
mod condition_expression;
mod debug;
mod group_by;
mod optimize_window;
mod remove;
mod reorient;
mod samples_condition;
mod stack;
mod swap;

pub use center::Center;
pub use condition::{Condition, ConditionFn};
pub use debug::Inspect;
pub use group_by::GroupBy;
pub use optimize_window::OptimizeWindow;
pub use remove::Remove;
pub use reorient::Reorient;
pub use samples_condition::{SamplesCondition, SamplesConditionFn};
pub use stack::Stack;
pub use swap::Swap;
