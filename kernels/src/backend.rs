use std::fmt;

use crate::error::Result;
#[cfg(feature = "gpu")]
use crate::gpu::Gpu;

/// Where kernels run. The results are the same bits.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Backend {
    /// On this processor, in parallel on the current rayon pool.
    #[default]
    Cpu,
    /// On a GPU, through wgpu.
    #[cfg(feature = "gpu")]
    Gpu(Gpu),
}

impl Backend {
    /// The most powerful hardware GPU if there is one, else the CPU. To be kept: each call opens the GPU anew, and each handle builds
    /// its own pipelines, which takes longer than most calls of a kernel.
    ///
    /// Software adapters (such as lavapipe) are never chosen here: the CPU form is faster.
    /// Ask for one with `Gpu::new()`. When the GPU fails later on (device lost, out of memory), the CPU finishes the call, with one
    /// warning, unless the environment has `PEPT_REQUIRE_GPU=1`; see `Gpu::with_fallback`.
    #[must_use]
    pub fn auto() -> Self {
        #[cfg(feature = "gpu")]
        match Gpu::new() {
            Ok(gpu) if !gpu.is_software() => {
                return Self::Gpu(if Gpu::is_required() {
                    gpu
                } else {
                    gpu.with_fallback()
                });
            }
            Ok(gpu) => tracing::debug!(
                adapter = gpu.name(),
                "software adapter ignored, kernels run on the CPU"
            ),
            Err(error) => tracing::debug!(%error, "kernels run on the CPU"),
        }
        Self::Cpu
    }

    /// A GPU, also a software adapter; an error when there is none.
    ///
    /// # Errors
    /// [`KernelError::NoAdapter`](crate::KernelError::NoAdapter), also when the crate was built without the feature `gpu`.
    pub fn gpu() -> Result<Self> {
        #[cfg(feature = "gpu")]
        return Gpu::new().map(Self::Gpu);
        #[cfg(not(feature = "gpu"))]
        Err(crate::KernelError::NoAdapter {
            reason: "this program was built without the feature `gpu`".into(),
        })
    }

    /// `"cpu"` or `"gpu"`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            #[cfg(feature = "gpu")]
            Self::Gpu(_) => "gpu",
        }
    }

    /// The GPU's name, if it is one.
    #[must_use]
    pub fn adapter(&self) -> Option<String> {
        match self {
            Self::Cpu => None,
            #[cfg(feature = "gpu")]
            Self::Gpu(gpu) => Some(gpu.name().to_owned()),
        }
    }

    /// Number of dispatches so far (0 on the CPU).
    #[must_use]
    pub fn gpu_dispatches(&self) -> u64 {
        match self {
            Self::Cpu => 0,
            #[cfg(feature = "gpu")]
            Self::Gpu(gpu) => gpu.dispatches(),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.adapter() {
            None => f.write_str(self.name()),
            Some(adapter) => write!(f, "{} ({adapter})", self.name()),
        }
    }
}
