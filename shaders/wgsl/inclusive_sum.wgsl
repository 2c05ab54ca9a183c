// A sum over the threads of a workgroup. Part of shaders that have N_THREADS, their number.

var<workgroup> sums: array<u32, N_THREADS>;

// The sum over this and all earlier threads.
fn inclusive_sum(thread: u32, value: u32) -> u32 {
    workgroupBarrier();  // the last sum has been read
    sums[thread] = value;
    var sum = value;
    for (var step = 1u; step < N_THREADS; step <<= 1u) {
        workgroupBarrier();
        if thread >= step {
            sum += sums[thread - step];
        }
        workgroupBarrier();
        sums[thread] = sum;
    }
    workgroupBarrier();
    return sum;
}

