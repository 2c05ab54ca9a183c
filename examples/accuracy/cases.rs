//! What is measured: scenes with their variants, how they are sampled, and the goals of each.

use crate::measure::{Outcome, largest};

/// A scene with one choice of its parameters.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) scene: &'static str,
    pub(crate) variant: String,
    pub(crate) set: Vec<(&'static str, f64)>,
    /// Length of the recording (ms).
    pub(crate) duration: f64,
    /// How many tracers there are.
    pub(crate) tracers: usize,
    /// By how many the `tracers` of the recipes are more, where their number is not known.
    pub(crate) spare: usize,
    /// How samples are chosen.
    pub(crate) samples: Samples,
    /// Points further than this from all tracers are false (mm).
    pub(crate) limit: f64,
    /// Whether the peer tracks it, too.
    pub(crate) beside_peer: bool,
    pub(crate) goal: Option<Goal>,
}

/// How samples are chosen: as a user would by `pept bound`, from the scene and not from the truth of a recording.
#[derive(Clone, Copy)]
pub(crate) enum Samples {
    /// So many LoRs, none twice.
    Count(usize),
    /// 200 LoRs for each tracer, with the recipes' overlap of three quarters; less where a speed (mm/ms) blurs more than the bound. Steps
    /// that fit a velocity get as many LoRs as come in half of the time (ms) from one turn to the next, if that is less than 200.
    Moving { speed: f64, turn: f64 },
    /// A random walk, step (mm) and tau (ms): the time T in which blur, step^2 / tau T / 12 per axis, equals the bound's variance; as many
    /// points in a second as this.
    Walk { step: f64, tau: f64, points: f64 },
}

/// A goal: figures that have to be at most their limits.
#[derive(Clone)]
pub(crate) struct Goal {
    pub(crate) text: String,
    /// In units of the bound of a sample: only for recipes whose points are of one sample.
    pub(crate) of_one_sample: bool,
    pub(crate) scores: fn(&Outcome, &Case) -> Vec<Score>,
}

/// A figure of a goal.
pub(crate) struct Score {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) limit: f64,
}

impl Score {
    fn new(name: &'static str, value: f64, limit: f64) -> Self {
        Self { name, value, limit }
    }

    /// One without a limit.
    fn shown(name: &'static str, value: f64) -> Self {
        Self::new(name, value, f64::INFINITY)
    }

    pub(crate) fn is_met(&self) -> bool {
        self.value <= self.limit
    }
}

fn goal(text: impl Into<String>, scores: fn(&Outcome, &Case) -> Vec<Score>) -> Option<Goal> {
    Some(Goal {
        text: text.into(),
        of_one_sample: false,
        scores,
    })
}

fn goal_in_bounds(
    text: impl Into<String>,
    scores: fn(&Outcome, &Case) -> Vec<Score>,
) -> Option<Goal> {
    goal(text, scores).map(|goal| Goal {
        of_one_sample: true,
        ..goal
    })
}

/// Samples of each recording of many tracers.
const SAMPLES_OF_MANY: f64 = 8.0;

pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let base = Case {
        scene: "static",
        variant: String::new(),
        set: Vec::new(),
        duration: 1000.0,
        tracers: 1,
        spare: 0,
        samples: Samples::Count(200),
        limit: 10.0,
        beside_peer: false,
        goal: None,
    };
    for lors in [50, 100, 200, 400, 800, 1600] {
        cases.push(Case {
            variant: format!("{lors} LoRs"),
            duration: 10_000.0,
            samples: Samples::Count(lors),
            beside_peer: lors == 200,
            goal: (lors >= 200)
                .then(|| {
                    goal_in_bounds(
                        "rms <= 1.10 bounds on each axis, bias < 0.1 sigma beyond chance (two standard errors)",
                        |found, _| {
                            let worst = largest(found.times_bound());
                            vec![
                                Score::new("rms / bound", worst, 1.10),
                                Score::new(
                                    "bias / sigma beyond chance",
                                    found.bias_beyond_chance(),
                                    0.1,
                                ),
                                Score::shown("bias / sigma", found.bias()),
                            ]
                        },
                    )
                })
                .flatten(),
            ..base.clone()
        });
    }
    for (scene, text) in [
        (
            "scatter-60",
            "rms <= 1.20 bounds, no point off by more than 10 mm",
        ),
        (
            "scatter-85",
            "rms <= 1.5 bounds, no point off by more than 10 mm",
        ),
    ] {
        cases.push(Case {
            scene,
            variant: "200 LoRs".into(),
            duration: 10_000.0,
            beside_peer: scene == "scatter-60",
            goal: goal_in_bounds(text, |found, case| {
                let limit = if case.scene == "scatter-60" { 1.2 } else { 1.5 };
                let worst = largest(found.times_bound());
                vec![
                    Score::new("rms / bound", worst, limit),
                    Score::new("points off > 10 mm", found.false_points() as f64, 0.0),
                ]
            }),
            ..base.clone()
        });
    }
    cases.push(Case {
        scene: "fov",
        variant: "250 mm/s".into(),
        duration: 1600.0,
        samples: Samples::Moving {
            speed: 0.25,
            turn: f64::INFINITY,
        },
        goal: goal(
            "mean error < 0.5 mm inside, no point outside",
            |found, _| {
                vec![
                    Score::new("mean, mm", found.mean(), 0.5),
                    Score::new("points outside", found.outside as f64, 0.0),
                    Score::new("% false", found.false_percent(), 1.0),
                ]
            },
        ),
        ..base.clone()
    });
    for scene in [
        "velocity-ring-x",
        "velocity-ring-z",
        "velocity-screens-x",
        "velocity-screens-z",
    ] {
        for frequency in [0.5, 1.0, 2.0, 16.0, 128.0, 256.0] {
            let speed = 0.04 * frequency;
            let goal = match frequency {
                0.0..=16.0 => goal("mean error < 0.5 mm up to 640 mm/s", |found, _| {
                    vec![
                        Score::new("mean, mm", found.mean(), 0.5),
                        Score::new("% false", found.false_percent(), 1.0),
                    ]
                }),
                // A point that stays in the middle has a mean error of 5 mm.
                256.0 => goal("at 10 m/s never lost, mean error < 4 mm", |found, _| {
                    vec![
                        Score::new("mean, mm", found.mean(), 4.0),
                        Score::new("% of time lost", found.missed_percent(), 0.0),
                        Score::new("changes of label", found.label_changes() as f64, 0.0),
                    ]
                }),
                _ => None,
            };
            let is_ring = scene.starts_with("velocity-ring");
            cases.push(Case {
                scene,
                variant: format!("{frequency} Hz, {} mm/s", 40.0 * frequency),
                set: vec![("frequency", frequency)],
                duration: match frequency {
                    _ if is_ring => 250.0,
                    // Long enough for a mean that is known to a hundredth.
                    16.0 => 12_500.0,
                    _ => 2500.0,
                },
                samples: Samples::Moving {
                    speed,
                    turn: 500.0 / frequency,
                },
                beside_peer: frequency == 16.0,
                goal,
                ..base.clone()
            });
        }
    }
    for (scene, least) in [("pair-in-plane", 6.0), ("pair-weak-axis", 12.0)] {
        for ratio in [1.0, 3.0] {
            for distance in [2.0, 4.0, 6.0, 8.0, 12.0, 20.0, 30.0] {
                let stretch = if least == 6.0 { 4.0 } else { 8.0 };
                let text = match distance {
                    d if d == stretch => format!("stretch: both found at {d} mm"),
                    d if d == least => format!("both found at {d} mm"),
                    _ => String::new(),
                };
                cases.push(Case {
                    scene,
                    variant: format!("{distance} mm, {ratio} : 1"),
                    set: vec![("distance", distance), ("ratio", ratio)],
                    duration: 600.0,
                    tracers: 2,
                    samples: Samples::Moving {
                        speed: 0.0,
                        turn: f64::INFINITY,
                    },
                    limit: 0.5 * distance,
                    goal: (!text.is_empty())
                        .then(|| {
                            goal(text, |found, _| {
                                let lost = 2 - found.n_found;
                                vec![
                                    Score::new("tracers not found", lost as f64, 0.0),
                                    Score::shown("mean, mm", found.mean()),
                                ]
                            })
                        })
                        .flatten(),
                    ..base.clone()
                });
            }
        }
    }
    cases.push(Case {
        scene: "linking",
        variant: "3 tracers, 0.5 to 0.8 m/s".into(),
        duration: 1000.0,
        tracers: 3,
        samples: Samples::Moving {
            speed: 0.7,
            turn: 190.0,
        },
        limit: 5.0,
        beside_peer: true,
        goal: goal("no identity switch, the gap bridged", |found, _| {
            vec![
                Score::new("identity switches", found.switches() as f64, 0.0),
                Score::new("changes of label", found.label_changes() as f64, 0.0),
            ]
        }),
        ..base.clone()
    });
    for tracers in [10, 20, 50, 80, 100] {
        cases.push(Case {
            scene: "many",
            variant: format!("{tracers} tracers"),
            set: vec![("tracers", tracers as f64)],
            // Trajectories have five points and more.
            duration: SAMPLES_OF_MANY * 200.0 * tracers as f64 / 320.0 + 1.0,
            tracers,
            spare: 20,
            samples: Samples::Count(200 * tracers),
            limit: 4.5,
            beside_peer: tracers == 10,
            goal: goal(
                if tracers == 100 {
                    "stretch: 100 of 100 found, at most 1 false, mean error < 1 mm"
                } else {
                    "all found, at most 1 false, mean error < 1 mm"
                },
                |found, case| {
                    vec![
                        Score::new("not found", (case.tracers - found.n_found) as f64, 0.0),
                        Score::new(
                            "false a sample",
                            found.false_points() as f64 / SAMPLES_OF_MANY,
                            1.0,
                        ),
                        Score::new("mean, mm", found.mean(), 1.0),
                    ]
                },
            ),
        });
    }
    for (scene, tracers) in [
        ("close-packed-4", 4),
        ("close-packed-8", 8),
        ("close-packed-16", 16),
    ] {
        for half in [5.0, 10.0] {
            cases.push(Case {
                scene,
                variant: format!("at {half} mm"),
                set: vec![("half", half)],
                duration: 25.0 * tracers as f64,
                tracers,
                samples: Samples::Count(200 * tracers),
                limit: 0.5 * half,
                goal: goal("all found, at most 1 % false", |found, case| {
                    let lost = case.tracers - found.n_found;
                    vec![
                        Score::new("tracers not found", lost as f64, 0.0),
                        Score::new("% false", found.false_percent(), 1.0),
                        Score::shown("mean, mm", found.mean()),
                    ]
                }),
                ..base.clone()
            });
        }
    }
    for (tau, step, median, rms, points) in [
        (0.2, 0.09, 0.29, 0.33, 7.0),
        (1.0, 0.09, 0.20, 0.23, 3.1),
        (1.0, 1.0, 0.35, 0.43, 3.0),
        (0.09, 1.0, 0.82, 0.98, 13.4),
    ] {
        cases.push(Case {
            scene: "walk",
            variant: format!("tau {tau} ms, step {step} mm"),
            set: vec![("tau", tau), ("step", step)],
            duration: 200.0,
            samples: Samples::Walk { step, tau, points },
            goal: goal(
                format!(
                    "rms 20 % below the published {rms} mm (median {median}) at {points}k points a second"
                ),
                |found, case| {
                    let published = |value: f64| {
                        [(0.2, 0.09, 0.33), (1.0, 0.09, 0.23), (1.0, 1.0, 0.43)]
                            .into_iter()
                            .find(|(tau, step, _)| {
                                case.set == [("tau", *tau), ("step", *step)]
                            })
                            .map_or(value, |(_, _, rms)| rms)
                    };
                    let Samples::Walk { points, .. } = case.samples else {
                        return Vec::new();
                    };
                    vec![
                        Score::new("rms, mm", found.rms(), 0.8 * published(0.98)),
                        Score::new("wanted / points a second", points / found.points_per_ms, 1.1),
                        Score::new("% of time lost", found.missed_percent(), 5.0),
                    ]
                },
            ),
            ..base.clone()
        });
    }
    for activity in [4.0, 20.0, 100.0] {
        let speed = activity / 4000.0; // mm/ms
        cases.push(Case {
            scene: "circle-low-activity",
            variant: format!("{activity} Bq, {} mm/s", 1000.0 * speed),
            set: vec![
                ("activity", activity),
                ("rpm", speed * 60_000.0 / (std::f64::consts::TAU * 30.0)),
            ],
            // Some thousands of LoRs.
            duration: 6e6 / activity,
            tracers: 2,
            samples: Samples::Moving {
                speed,
                turn: 0.25 * std::f64::consts::TAU * 30.0 / speed,
            },
            goal: goal(
                "mean error < 3 mm, less than 10 % of the time lost",
                |found, _| {
                    vec![
                        Score::new("mean, mm", found.mean(), 3.0),
                        Score::new("% of time lost", found.missed_percent(), 10.0),
                        Score::new("% false", found.false_percent(), 1.0),
                    ]
                },
            ),
            ..base.clone()
        });
    }
    cases
}
