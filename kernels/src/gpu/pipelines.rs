use std::sync::{Mutex, PoisonError};

use pept_shaders::{BIT_LIST, MINPOINTS, PAIRS, POSITIONS, Shader, VOXELS};

use super::Gpu;

/// A shader's entry point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pipeline {
    Pairs,
    BitCount,
    BitScan,
    BitWrite,
    Positions,
    MinpointsCount,
    MinpointsWrite,
    MinpointsJudge,
    MinpointsPick,
    VoxelCounts,
    VoxelSums,
}

impl Pipeline {
    fn entry(self) -> (&'static Shader, &'static str) {
        match self {
            Self::Pairs => (&PAIRS, "main"),
            Self::BitCount => (&BIT_LIST, "count"),
            Self::BitScan => (&BIT_LIST, "scan"),
            Self::BitWrite => (&BIT_LIST, "write"),
            Self::Positions => (&POSITIONS, "main"),
            Self::MinpointsCount => (&MINPOINTS, "count"),
            Self::MinpointsWrite => (&MINPOINTS, "write"),
            Self::MinpointsJudge => (&MINPOINTS, "judge"),
            Self::MinpointsPick => (&MINPOINTS, "pick"),
            Self::VoxelCounts => (&VOXELS, "counts"),
            Self::VoxelSums => (&VOXELS, "sums"),
        }
    }

    /// Threads of a workgroup, the shader's override.
    fn workgroup_size(self) -> u32 {
        match self {
            Self::Pairs | Self::Positions => crate::pairs::gpu::WORKGROUP_SIZE,
            Self::BitCount | Self::BitScan | Self::BitWrite => {
                crate::pairs::gpu::LIST_WORKGROUP_SIZE
            }
            Self::MinpointsCount
            | Self::MinpointsWrite
            | Self::MinpointsJudge
            | Self::MinpointsPick => crate::minpoints::WORKGROUP_SIZE,
            Self::VoxelCounts | Self::VoxelSums => crate::voxels::WORKGROUP_SIZE,
        }
    }
}

const N_PIPELINES: usize = Pipeline::VoxelSums as usize + 1;

/// Pipelines that were built.
#[derive(Debug, Default)]
pub(super) struct Pipelines {
    built: Mutex<[Option<wgpu::ComputePipeline>; N_PIPELINES]>,
    cache: Option<wgpu::PipelineCache>,
}

impl Pipelines {
    pub(super) fn with_cache(cache: wgpu::PipelineCache) -> Self {
        Self {
            cache: Some(cache),
            ..Self::default()
        }
    }

    /// Lets go of all, one of which may be invalid.
    pub(super) fn clear(&self) {
        *self.built.lock().unwrap_or_else(PoisonError::into_inner) = Default::default();
    }

    /// Built on first use, and kept.
    pub(super) fn get(&self, device: &wgpu::Device, pipeline: Pipeline) -> wgpu::ComputePipeline {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        let built = built[pipeline as usize].get_or_insert_with(|| {
            let (shader, entry_point) = pipeline.entry();
            let label = format!("pept.{}.{entry_point}", shader.name);
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(&label),
                source: wgpu::ShaderSource::Wgsl(shader.wgsl.into()),
            });
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&label),
                layout: None,
                module: &module,
                entry_point: Some(entry_point),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &[("WORKGROUP_SIZE", f64::from(pipeline.workgroup_size()))],
                    zero_initialize_workgroup_memory: false, // kernels write every word first
                },
                cache: self.cache.as_ref(),
            })
        });
        built.clone()
    }
}

impl Gpu {
    pub(crate) fn pipeline(&self, pipeline: Pipeline) -> wgpu::ComputePipeline {
        self.pipelines().get(self.device(), pipeline)
    }
}
