use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::buffers::Pool;
use super::pipelines::Pipelines;
use crate::error::{KernelError, Result};

/// What a submission computes, in units that take similar times: pairs of lines, combinations of lines, cells of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Pairs,
    Combinations,
    Cells,
}

const N_WORKS: usize = Work::Cells as usize + 1;

impl Work {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Pairs => "pept.pairs",
            Self::Combinations => "pept.minpoints",
            Self::Cells => "pept.voxels",
        }
    }
}

/// Units that a first submission may hold, on hardware and on a software adapter.
const FIRST_BUDGET: u64 = 1 << 28;
const FIRST_BUDGET_SOFTWARE: u64 = 1 << 24;
/// Bounds of later ones.
const LEAST_BUDGET: u64 = 1 << 16;
const LARGEST_BUDGET: u64 = 1 << 36;
/// Submissions longer than this make the next ones smaller: Windows resets a device after 2 s, Metal after 8 s.
const LONG_SUBMISSION: Duration = Duration::from_millis(200);
const SHORT_SUBMISSION: Duration = Duration::from_millis(50);
/// Bindings stay at or below this, whatever the adapter says.
const MAX_BINDING: u64 = i32::MAX as u64;

/// A GPU that runs kernels: device, queue and compute pipelines, built on first use and kept.
///
/// A cheap handle: clones share everything, and threads may use it at the same time.
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
    /// Whether the CPU finishes what this handle fails to do.
    falls_back: bool,
}

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    /// Why the device is lost, once it is: error scopes do not show it.
    lost: Arc<Mutex<Option<String>>>,
    pipelines: Pipelines,
    pool: Pool,
    dispatches: AtomicU64,
    /// For each kind of work.
    budgets: [AtomicU64; N_WORKS],
    /// When the device last finished something.
    finished: Mutex<Instant>,
    /// Whether it was said that the CPU goes on.
    warned: AtomicBool,
}

/// The adapters that could run kernels and their limits, the preferred one first: hardware before software, discrete
/// before integrated.
///
/// Vulkan, Metal and DX12 only. With `WGPU_ADAPTER_NAME` set, those whose name contains it.
#[must_use]
pub fn adapters() -> Vec<(wgpu::AdapterInfo, wgpu::Limits)> {
    usable_adapters()
        .iter()
        .map(|adapter| (adapter.get_info(), adapter.limits()))
        .collect()
}

fn usable_adapters() -> Vec<wgpu::Adapter> {
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    if !wgpu::Instance::enabled_backend_features().intersects(backends) {
        return Vec::new(); // `Instance::new` would panic
    }
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    let instance = wgpu::Instance::new(descriptor);
    let wanted = wanted_name().map(|name| name.to_lowercase());
    let mut adapters = pollster::block_on(instance.enumerate_adapters(backends));
    adapters.retain(|adapter| {
        let compute = wgpu::DownlevelFlags::COMPUTE_SHADERS;
        let named = |name: &String| adapter.get_info().name.to_lowercase().contains(name);
        adapter.get_downlevel_capabilities().flags.contains(compute)
            && wanted.as_ref().is_none_or(named)
    });
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    adapters
}

fn wanted_name() -> Option<String> {
    std::env::var("WGPU_ADAPTER_NAME")
        .ok()
        .filter(|name| !name.is_empty())
}

impl Gpu {
    /// The preferred one of [`adapters`], which may be a software adapter.
    ///
    /// # Errors
    /// [`KernelError::NoAdapter`] if there is none or it gives no device.
    pub fn new() -> Result<Self> {
        let adapter = usable_adapters().into_iter().next().ok_or_else(|| {
            let name = wanted_name().map_or(String::new(), |name| {
                format!(" whose name contains \"{name}\" (WGPU_ADAPTER_NAME)")
            });
            KernelError::NoAdapter {
                reason: format!("no Vulkan, Metal or DX12 adapter{name} was found"),
            }
        })?;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("pept"),
            required_limits: adapter.limits(),
            ..Default::default()
        };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&descriptor)).map_err(|error| {
                KernelError::NoAdapter {
                    reason: format!("{}: {error}", adapter.get_info().name),
                }
            })?;

        let lost = Arc::new(Mutex::new(None));
        let poison = |lost: &Arc<Mutex<Option<String>>>| {
            let lost = Arc::clone(lost);
            move |reason: String| {
                lost.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(reason);
            }
        };
        let (on_lost, on_error) = (poison(&lost), poison(&lost));
        device.set_device_lost_callback(move |reason, message| {
            on_lost(format!("{reason:?} {message}"));
        });
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            on_error(error.to_string());
        }));
        Ok(Self::with(device, queue, lost, Pipelines::default()))
    }

    /// A host program's own device and queue.
    ///
    /// Its lost and error handlers stay the host's: a lost device then shows when results are read.
    #[must_use]
    pub fn from_device(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Self::with(device, queue, Arc::default(), Pipelines::default())
    }

    /// [`from_device`](Self::from_device), with the host's cache for compiled pipelines.
    #[must_use]
    pub fn from_device_with_cache(
        device: wgpu::Device,
        queue: wgpu::Queue,
        cache: wgpu::PipelineCache,
    ) -> Self {
        Self::with(device, queue, Arc::default(), Pipelines::with_cache(cache))
    }

    fn with(
        device: wgpu::Device,
        queue: wgpu::Queue,
        lost: Arc<Mutex<Option<String>>>,
        pipelines: Pipelines,
    ) -> Self {
        let info = device.adapter_info();
        let software = info.device_type == wgpu::DeviceType::Cpu;
        let budget = if software {
            FIRST_BUDGET_SOFTWARE
        } else {
            FIRST_BUDGET
        };
        Self {
            falls_back: false,
            inner: Arc::new(Inner {
                device,
                queue,
                info,
                lost,
                pipelines,
                pool: Pool::default(),
                dispatches: AtomicU64::new(0),
                budgets: std::array::from_fn(|_| AtomicU64::new(budget)),
                finished: Mutex::new(Instant::now()),
                warned: AtomicBool::new(false),
            }),
        }
    }

    /// Bytes of device memory that this handle and its clones hold, free buffers of the pool included.
    #[must_use]
    pub fn memory_in_use(&self) -> u64 {
        self.inner.pool.allocated()
    }

    /// Limits [`memory_in_use`](Self::memory_in_use): kernels then cut their work into smaller pieces, or give
    /// [`KernelError::OutOfMemory`]. No limit by default but the device's own.
    pub fn set_memory_budget(&self, bytes: u64) {
        self.inner.pool.set_budget(bytes);
    }

    /// Bytes that [`set_memory_budget`](Self::set_memory_budget) allows.
    pub(crate) fn memory_budget(&self) -> u64 {
        self.inner.pool.budget()
    }

    /// A handle whose failures (device lost, out of memory, too small) the CPU makes up for, with the same results and one warning.
    ///
    /// Not those of [`Counts`](crate::voxels::Counts) and [`Sums`](crate::voxels::Sums), which live on the device.
    #[must_use]
    pub fn with_fallback(self) -> Self {
        Self {
            falls_back: true,
            ..self
        }
    }

    /// Whether the CPU shall do what failed with this error; says so once.
    pub(crate) fn falls_back(&self, error: &KernelError) -> bool {
        let of_the_gpu = matches!(
            error,
            KernelError::DeviceLost { .. }
                | KernelError::OutOfMemory
                | KernelError::TooLarge { .. }
                | KernelError::DeviceLimit { .. }
                | KernelError::Gpu { .. }
        );
        let falls_back = self.falls_back && of_the_gpu;
        if falls_back && !self.inner.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "the GPU failed, the CPU goes on");
        }
        falls_back
    }

    /// The adapter's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.info.name
    }

    /// All that the driver says about the adapter.
    #[must_use]
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.inner.info
    }

    /// Whether the adapter runs on the processor (lavapipe, WARP): right for tests, useless for speed.
    #[must_use]
    pub fn is_software(&self) -> bool {
        self.inner.info.device_type == wgpu::DeviceType::Cpu
    }

    /// The wgpu device.
    #[must_use]
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// Number of submissions of work so far.
    #[must_use]
    pub fn dispatches(&self) -> u64 {
        self.inner.dispatches.load(Ordering::Relaxed)
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    pub(super) fn pipelines(&self) -> &Pipelines {
        &self.inner.pipelines
    }

    pub(crate) fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// Largest storage binding in bytes.
    pub(crate) fn max_binding(&self) -> u64 {
        let limits = self.inner.device.limits();
        limits
            .max_storage_buffer_binding_size
            .min(limits.max_buffer_size)
            .min(MAX_BINDING)
            & !3
    }

    /// An error if a shader may not have so many storage buffers: a device may have been requested with fewer than the default.
    pub(crate) fn check_storage_buffers(&self, n: usize) -> Result<()> {
        let available = self
            .inner
            .device
            .limits()
            .max_storage_buffers_per_shader_stage;
        if n <= available as usize {
            return Ok(());
        }
        Err(KernelError::DeviceLimit {
            name: "max_storage_buffers_per_shader_stage",
            needed: n as u64,
            available: u64::from(available),
        })
    }

    /// Most workgroups of a dispatch with one dimension.
    pub(crate) fn max_workgroups(&self) -> usize {
        self.inner
            .device
            .limits()
            .max_compute_workgroups_per_dimension as usize
    }

    /// Whether the environment says that nothing may do without a GPU.
    pub(crate) fn is_required() -> bool {
        std::env::var_os("PEPT_REQUIRE_GPU").is_some_and(|value| value == "1")
    }

    /// A GPU for a test, which says so and passes where none is needed.
    #[cfg(test)]
    pub(super) fn for_test() -> Option<Self> {
        let gpu = Self::new();
        assert!(gpu.is_ok() || !Self::is_required(), "{gpu:?}");
        if let Err(error) = &gpu {
            eprintln!("not tested: {error}");
        }
        gpu.ok()
    }

    /// Units of work that the next submission may hold.
    pub(crate) fn budget(&self, work: Work) -> u64 {
        self.inner.budgets[work as usize].load(Ordering::Relaxed)
    }

    /// Adapts the budget to how long a submission of `units`, which has just finished, took. Results do not depend on it.
    pub(super) fn took(&self, work: Work, units: u64, start: Instant) {
        let now = Instant::now();
        // It may have waited for those of other threads.
        let start = {
            let finished = &self.inner.finished;
            let mut finished = finished.lock().unwrap_or_else(PoisonError::into_inner);
            start.max(std::mem::replace(&mut finished, now))
        };
        if units == 0 {
            return; // copies, whose time says nothing
        }
        self.inner.dispatches.fetch_add(1, Ordering::Relaxed);
        let time = now.saturating_duration_since(start);
        let budget = adapted(self.budget(work), units, time);
        self.inner.budgets[work as usize].store(budget, Ordering::Relaxed);
    }

    /// Lets go of buffers that are kept for later calls.
    pub fn trim(&self) {
        self.inner.pool.clear();
    }

    pub(super) fn set_lost(&self, reason: String) {
        let mut lost = self
            .inner
            .lost
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        lost.get_or_insert(reason);
    }

    /// Remembers that the device is lost.
    pub(crate) fn is_lost(&self, sign: impl fmt::Display) -> KernelError {
        let reason = sign.to_string();
        self.set_lost(reason.clone());
        KernelError::DeviceLost { reason }
    }

    /// An error if the device is known to be lost.
    pub(crate) fn check_lost(&self) -> Result<()> {
        match self
            .inner
            .lost
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
        {
            Some(reason) => Err(KernelError::DeviceLost { reason }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu")
            .field("adapter", &self.inner.info.name)
            .field("driver", &self.inner.info.driver_info)
            .finish()
    }
}

/// The next budget, after a submission of `units`.
fn adapted(budget: u64, units: u64, time: Duration) -> u64 {
    if time > LONG_SUBMISSION {
        (budget.min(units) / 2).max(LEAST_BUDGET)
    } else if time < SHORT_SUBMISSION && units > budget / 2 {
        budget.saturating_mul(2).min(LARGEST_BUDGET)
    } else {
        budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_work_has_a_budget_and_waiting_for_others_does_not_lower_it() {
        let Some(gpu) = Gpu::for_test() else {
            return;
        };
        let first = gpu.budget(Work::Pairs);
        let a_second_ago = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        *gpu.inner.finished.lock().unwrap() = a_second_ago;
        gpu.took(Work::Combinations, first, a_second_ago);
        assert_eq!(gpu.budget(Work::Combinations), first / 2);
        assert_eq!(gpu.budget(Work::Pairs), first);
        // Submitted as long ago, but it had to wait.
        gpu.took(Work::Pairs, 64, a_second_ago);
        assert_eq!(gpu.budget(Work::Pairs), first);
        gpu.took(Work::Pairs, first, a_second_ago);
        assert_eq!(gpu.budget(Work::Pairs), 2 * first);
    }

    #[test]
    fn budgets_stay_within_their_bounds() {
        let (slow, fast) = (Duration::from_secs(1), Duration::ZERO);
        assert_eq!(adapted(1 << 20, 1 << 19, slow), 1 << 18);
        assert_eq!(adapted(1 << 20, 1, slow), LEAST_BUDGET);
        assert_eq!(adapted(1 << 20, 1, fast), 1 << 20);
        assert_eq!(adapted(1 << 20, 1 << 20, fast), 1 << 21);
        assert_eq!(adapted(LARGEST_BUDGET, u64::MAX, fast), LARGEST_BUDGET);
    }
}
