/// What can go wrong in a kernel.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A line's time or coordinates are NaN or infinite.
    ///
    /// Remove the row, or find out why the scanner wrote it.
    #[error("line {line} has a NaN or infinite value; remove it first")]
    NotFinite {
        /// Index of the first such line.
        line: usize,
    },
    /// Rows that are too short for `t x1 y1 z1 x2 y2 z2`, or that do not fill the slice.
    #[error("{len} values are not rows of {width} columns, at least 7 each (t x1 y1 z1 x2 y2 z2)")]
    Rows {
        /// Values in the slice.
        len: usize,
        /// Columns that were stated.
        width: usize,
    },
    /// A sample that does not lie within the lines.
    #[error("sample {sample} is rows {start}..{end}, but there are {n_lines} lines")]
    SampleOutOfBounds {
        /// Index of the sample.
        sample: usize,
        /// Its first row.
        start: usize,
        /// One past its last row.
        end: usize,
        /// Number of lines given.
        n_lines: usize,
    },
    /// A line's weight is negative, not finite, or above the largest that was announced.
    #[error("the weight of line {line} is {value}, not between 0 and {largest}")]
    Weight {
        /// Index of the line.
        line: usize,
        /// Its weight.
        value: f64,
        /// The largest weight.
        largest: f64,
    },
    /// A parameter that makes no sense.
    #[error("{name} = {value}: {needed}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it has to be.
        needed: &'static str,
    },
    /// More data than the kernel, the budget or the adapter's limits can take.
    #[error("{what}: {needed} needed, {available} available; split the input")]
    TooLarge {
        /// What does not fit.
        what: &'static str,
        /// How much it needs.
        needed: u64,
        /// How much there is.
        available: u64,
    },
    /// No adapter that can run compute shaders through Vulkan, Metal or DX12.
    #[error(
        "no GPU adapter: {reason}; run on the CPU, or install a Vulkan driver (on Debian: mesa-vulkan-drivers)"
    )]
    NoAdapter {
        /// What was looked for, and what was found.
        reason: String,
    },
    /// The device was lost (driver reset, unplugged, destroyed). Make a new [`Gpu`](crate::Gpu).
    #[error("the GPU device was lost: {reason}; make a new one, or run on the CPU")]
    DeviceLost {
        /// What the driver said.
        reason: String,
    },
    /// The device is out of memory.
    #[error("the GPU is out of memory; use smaller batches or run on the CPU")]
    OutOfMemory,
    /// The host has no memory for the cells of a grid.
    #[error("no memory for {bytes} bytes of cells; use fewer cells")]
    HostOutOfMemory {
        /// Bytes that the cells need.
        bytes: u64,
    },
    /// A host program's device that was requested with less than a kernel needs.
    #[error(
        "the GPU device has {name} = {available}, {needed} are needed; request it with `wgpu::Limits::default()` or more, or run on the CPU"
    )]
    DeviceLimit {
        /// The field of `wgpu::Limits`.
        name: &'static str,
        /// How much the kernel needs.
        needed: u64,
        /// How much the device has.
        available: u64,
    },
    /// The device refused or failed a command: a defect of this crate or of the driver.
    #[error("the GPU failed: {reason}; please report this, and run on the CPU meanwhile")]
    Gpu {
        /// What was said.
        reason: String,
    },
}

/// `std::result::Result` with [`KernelError`].
pub type Result<T, E = KernelError> = std::result::Result<T, E>;
