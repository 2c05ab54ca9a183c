//! The WGSL compute shaders of [`pept`](https://docs.rs/pept), as text and nothing else.
//!
//! | shader | computes |
//! |---|---|
//! | [`PAIRS`] | a bit for each pair of lines that may pass within a given distance of each other |
//! | [`BIT_LIST`] | the positions of all set bits of a mask, ascending |
//! | [`MINPOINTS`] | the combinations of lines that are near each other, and may have a point near all |
//! | [`POSITIONS`] | where pairs of lines come nearest to each other, in f32 |
//! | [`VOXELS`] | how many line segments run through each voxel, or with which weight and length |
//!
//! The Rust side of each kernel (packing, dispatch, the CPU form and the confirmation in f64) is in
//! `pept-kernels`. Use these texts directly to run a kernel in an engine of your own.

/// A compute shader. Its workgroup size is the override `WORKGROUP_SIZE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shader {
    /// The shader's name, also that of its file.
    pub name: &'static str,
    /// The whole text.
    pub wgsl: &'static str,
    /// The functions that can be dispatched.
    pub entry_points: &'static [&'static str],
}

/// Pairs of lines that may pass within a given distance: see `wgsl/pairs.wgsl`.
pub const PAIRS: Shader = Shader {
    name: "pairs",
    wgsl: include_str!("../wgsl/pairs.wgsl"),
    entry_points: &["main"],
};

/// The positions of set bits, in three dispatches: see `wgsl/bit_list.wgsl`.
pub const BIT_LIST: Shader = Shader {
    name: "bit_list",
    wgsl: concat!(
        include_str!("../wgsl/inclusive_sum.wgsl"),
        include_str!("../wgsl/bit_list.wgsl")
    ),
    entry_points: &["count", "scan", "write"],
};

/// Combinations of 3 or 4 lines that are near each other: see `wgsl/minpoints.wgsl`.
pub const MINPOINTS: Shader = Shader {
    name: "minpoints",
    wgsl: concat!(
        include_str!("../wgsl/inclusive_sum.wgsl"),
        include_str!("../wgsl/minpoints.wgsl")
    ),
    entry_points: &["count", "write", "judge", "pick"],
};

/// Where pairs of lines come nearest to each other: see `wgsl/positions.wgsl`.
pub const POSITIONS: Shader = Shader {
    name: "positions",
    wgsl: include_str!("../wgsl/positions.wgsl"),
    entry_points: &["main"],
};

/// The voxels that line segments run through: see `wgsl/voxels.wgsl`.
pub const VOXELS: Shader = Shader {
    name: "voxels",
    wgsl: include_str!("../wgsl/voxels.wgsl"),
    entry_points: &["counts", "sums"],
};

/// Every shader of this package.
pub const ALL: &[Shader] = &[PAIRS, BIT_LIST, MINPOINTS, POSITIONS, VOXELS];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shader_parses_and_validates_with_core_features_only() {
        for shader in ALL {
            let module = naga::front::wgsl::parse_str(shader.wgsl).unwrap_or_else(|e| {
                panic!("{}", e.emit_to_string_with_path(shader.wgsl, shader.name))
            });
            let mut validator = naga::valid::Validator::new(
                naga::valid::ValidationFlags::all(),
                naga::valid::Capabilities::empty(),
            );
            if let Err(e) = validator.validate(&module) {
                panic!("{}", e.emit_to_string_with_path(shader.wgsl, shader.name));
            }
            let found: Vec<&str> = module
                .entry_points
                .iter()
                .map(|entry| entry.name.as_str())
                .collect();
            assert_eq!(found, shader.entry_points, "{}", shader.name);
        }
    }

    /// Browsers refuse a barrier after a non-uniform `return`, and hardware may hang: only the
    /// statements after the last barrier of an entry point may leave early.
    #[test]
    fn no_shader_returns_before_its_last_barrier() {
        for shader in ALL {
            for entry in shader.wgsl.split("@compute").skip(1) {
                let body = entry.split("\n}").next().unwrap_or(entry);
                let calls = ["workgroupBarrier()", "inclusive_sum("];
                if let Some(last) = calls.iter().filter_map(|call| body.rfind(call)).max() {
                    assert!(!body[..last].contains("return"), "{}", shader.name);
                }
            }
        }
    }
}
