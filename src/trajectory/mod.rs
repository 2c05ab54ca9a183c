//! From points to trajectories, and how good they are: a file per step.

mod evaluation;
mod fit_trajectory;
mod interpolate;
mod link;
mod out_of_view;
mod reconnect;
mod remove_static;
mod segregate;
mod smooth;
mod velocity;

pub use evaluation::{
    ErrorStatistics, Evaluation, Evaluator, NormalisedErrors, TracerEvaluation, evaluate,
};
pub use fit_trajectory::FitTrajectory;
pub use interpolate::{Interpolate, InterpolationKind};
pub use link::Link;
pub use out_of_view::OutOfViewFilter;
pub use reconnect::Reconnect;
pub use remove_static::RemoveStatic;
pub use segregate::Segregate;
pub use smooth::{MotionModel, Smooth};
pub use velocity::Velocity;
