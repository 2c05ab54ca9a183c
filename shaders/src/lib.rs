//! The WGSL compute shaders of [`pept`](https://docs.rs/pept), as text and nothing else.
//!
//! | shader | computes |
//! |---|---|
//! | [`CUTPOINTS`] | a bit for each pair of lines that may pass within a given distance of each other |
//!
//! The Rust side of each kernel (packing, dispatch, the CPU form and the confirmation in f64) is in
//! `pept-kernels`. Use these texts directly to run a kernel in an engine of your own.

/// A compute shader: one entry point `main`, whose workgroup size is the override `WORKGROUP_SIZE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shader {
    /// The kernel's name, also that of its file and of its Rust module.
    pub name: &'static str,
    /// The whole text; the kernel's own file comes first, so that line numbers in messages hold.
    pub wgsl: &'static str,
}

/// Pairs of lines that may pass within a given distance: see `wgsl/cutpoints.wgsl`.
pub const CUTPOINTS: Shader = Shader {
    name: "cutpoints",
    wgsl: include_str!("../wgsl/cutpoints.wgsl"),
};

/// Every shader of this package.
pub const ALL: &[Shader] = &[CUTPOINTS];

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
            assert!(
                module.entry_points.iter().any(|entry| entry.name == "main"),
                "{}",
                shader.name
            );
        }
    }

    /// Browsers refuse a barrier after a non-uniform `return`, and hardware may hang: only the
    /// statements after the last barrier may leave early.
    #[test]
    fn no_shader_returns_before_its_last_barrier() {
        for shader in ALL {
            let Some(last_barrier) = shader.wgsl.rfind("workgroupBarrier()") else {
                continue;
            };
            let main = shader
                .wgsl
                .find("fn main")
                .expect("every shader has an entry point `main`");
            let before = &shader.wgsl[main..last_barrier];
            assert!(!before.contains("return"), "{}", shader.name);
        }
    }
}
