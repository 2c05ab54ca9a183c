//! From points to trajectories, and how good they are: a file per step.

mod evaluate;
mod segregate;

pub use evaluate::{Evaluation, evaluate};
pub use segregate::Segregate;
