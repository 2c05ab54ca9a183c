//! Points of a recording that is still being made.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use super::Pipeline;
use super::step::Role;
use crate::data::{Cutter, Data, PointData, Points};
use crate::error::Result;
use crate::trajectory::Segregate;
use crate::transform::Stack;

/// The steps after a pipeline's first filters, on points as they come: what is seen of a recording that is still being made.
///
/// It is given what the first filters gave ([`BlockOptions::observer`](super::BlockOptions::observer)). `Stack` by rows and the
/// filters after it work as samples become complete, and give what they would give in the whole. `Segregate` gives a point the
/// provisional label of the points before it that it is connected to, or a new one; a point that connects trajectories
/// [joins](Join) them. Other reducers, and all that follows them, need the whole recording: points are then those before them.
pub struct Live {
    pipeline: Pipeline,
    stages: Vec<Stage>,
}

/// Two trajectories that turned out to be one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Join {
    /// When (ms).
    pub time: f64,
    /// The provisional label that is no more.
    pub label: usize,
    /// The one that it belongs to.
    pub into: usize,
}

enum Stage {
    /// Filters, by their places in the pipeline, and the number of the next sample.
    Filters(Range<usize>, usize),
    Stack(Cutter<Points>),
    Segregate(Labels),
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("pipeline", &self.pipeline)
            .finish_non_exhaustive()
    }
}

impl Live {
    /// What can be seen live of this pipeline.
    ///
    /// # Errors
    /// [`Error::Sampling`](crate::Error::Sampling) for a `Stack` that makes no sense.
    pub fn new(pipeline: &Pipeline) -> Result<Self> {
        let steps = pipeline.transformers();
        let mut stages = Vec::new();
        let mut next = steps.iter().take_while(|step| !step.is_reducer()).count();
        while let Some(step) = steps.get(next) {
            if let Role::Filter(_) = step.role() {
                let filters = steps[next..].iter().take_while(|step| !step.is_reducer());
                let end = next + filters.count();
                stages.push(Stage::Filters(next..end, 0));
                next = end;
                continue;
            }
            if let Some(stack) = step.as_any().downcast_ref::<Stack>() {
                match stack.sampling()? {
                    None => (),
                    Some(sampling) if !sampling.is_by_time() => {
                        stages.push(Stage::Stack(Cutter::new(sampling)));
                    }
                    Some(_) => break,
                }
            } else if let Some(segregate) = step.as_any().downcast_ref::<Segregate>() {
                stages.push(Stage::Segregate(Labels::new(segregate.clone())));
            } else {
                break;
            }
            next += 1;
        }
        Ok(Self {
            pipeline: pipeline.clone(),
            stages,
        })
    }

    /// The points that are there now since the first filters gave `data` for one more sample, and the trajectories that these join.
    ///
    /// # Errors
    /// Those of steps.
    pub fn push(&mut self, data: &Data) -> Result<(Vec<PointData>, Vec<Join>)> {
        let mut joins = Vec::new();
        let mut tables = Vec::new();
        for table in data.clone().flatten() {
            if let Data::Points(points) = table {
                tables.push(points);
            }
        }
        for stage in &mut self.stages {
            let mut out = Vec::new();
            for table in tables {
                match stage {
                    Stage::Stack(cutter) => {
                        let samples = cutter.add(&table.into_one_sample())?;
                        out.extend(samples.iter().flat_map(PointData::samples));
                    }
                    Stage::Filters(steps, sample) => {
                        let mut data = Data::Points(table);
                        for step in steps.clone() {
                            if let Role::Filter(filter) = self.pipeline.steps[step].role() {
                                data = filter.apply(data, &self.pipeline.context(step, *sample))?;
                            }
                        }
                        *sample += 1;
                        for table in data.flatten() {
                            if let Data::Points(points) = table {
                                out.push(points);
                            }
                        }
                    }
                    Stage::Segregate(labels) => out.push(labels.label(table, &mut joins)),
                }
            }
            tables = out;
        }
        Ok((tables, joins))
    }
}

/// Provisional labels.
struct Labels {
    segregate: Segregate,
    /// The last points, `t x y z`, and their labels.
    recent: VecDeque<([f64; 4], usize)>,
    /// Which label each one belongs to: itself, or an earlier one.
    belongs_to: Vec<usize>,
}

impl Labels {
    fn new(segregate: Segregate) -> Self {
        Self {
            segregate,
            recent: VecDeque::new(),
            belongs_to: Vec::new(),
        }
    }

    fn root(&self, mut label: usize) -> usize {
        while self.belongs_to[label] != label {
            label = self.belongs_to[label];
        }
        label
    }

    fn label(&mut self, points: PointData, joins: &mut Vec<Join>) -> PointData {
        let points = match points.column_index("label") {
            Some(column) => points.without_column(column),
            None => points,
        };
        let mut labels = Vec::with_capacity(points.n_rows());
        for row in points.values().chunks_exact(points.columns().len()) {
            let point = [row[0], row[1], row[2], row[3]];
            let mut found: Option<usize> = None;
            for n in 0..self.recent.len() {
                let (other, label) = self.recent[n];
                if !self.segregate.connects(&other, &point) {
                    continue;
                }
                let root = self.root(label);
                let Some(before) = found.filter(|&before| before != root) else {
                    found = Some(root);
                    continue;
                };
                let (into, label) = (before.min(root), before.max(root));
                self.belongs_to[label] = into;
                found = Some(into);
                joins.push(Join {
                    time: point[0],
                    label,
                    into,
                });
            }
            let label = found.unwrap_or_else(|| {
                self.belongs_to.push(self.belongs_to.len());
                self.belongs_to.len() - 1
            });
            labels.push(label as f64);
            self.recent.push_back((point, label));
            if self.recent.len() > self.segregate.window() {
                self.recent.pop_front();
            }
        }
        points.into_one_sample().with_column("label", &labels)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::pipeline::IntoStep;

    #[test]
    fn points_get_provisional_labels_and_trajectories_join() {
        let pipeline = Pipeline::new()
            .then(Stack::new())
            .then(Segregate::new(10, 1.5));
        let mut live = Live::new(&pipeline).unwrap();
        // Two tracers, one row a sample; the last point lies between them.
        let mut labels = Vec::new();
        for (t, x) in [(0.0, 0.0), (1.0, 2.0), (2.0, 0.1), (3.0, 2.1)] {
            let table = PointData::new(array![[t, x, 0.0, 0.0]]).unwrap();
            let (points, joins) = live.push(&table.into()).unwrap();
            assert!(joins.is_empty());
            labels.push(points[0].rows()[[0, 4]]);
        }
        assert_eq!(labels, [0.0, 1.0, 0.0, 1.0]);
        let table = PointData::new(array![[4.0, 1.0, 0.0, 0.0]]).unwrap();
        let (points, joins) = live.push(&table.into()).unwrap();
        let join = Join {
            time: 4.0,
            label: 1,
            into: 0,
        };
        assert_eq!((points[0].rows()[[0, 4]], joins), (0.0, vec![join]));
    }

    #[test]
    fn samples_of_points_are_those_of_the_whole() {
        let step = crate::transform::Condition::new("t >= 0");
        let pipeline = Pipeline::new()
            .then(step.into_step())
            .then(Stack::samples(3, 2));
        let mut live = Live::new(&pipeline).unwrap();
        let mut found = Vec::new();
        for t in 0..10 {
            let table = PointData::new(array![[f64::from(t), 0.0, 0.0, 0.0]]).unwrap();
            let (points, _) = live.push(&table.into()).unwrap();
            found.extend(points.iter().map(|table| table.column(0)));
        }
        let expected: Vec<_> = (0..8)
            .map(|t| vec![f64::from(t), f64::from(t + 1), f64::from(t + 2)])
            .collect();
        assert_eq!(found, expected);
    }
}
