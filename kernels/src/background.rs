use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Runs a blocking call, such as any kernel's, on the rayon pool: the async entry to all of them.
///
/// The work starts at once, whether the future is polled or not; a panic in it comes out of the future. Do not block on the future
/// within the pool: with all its threads waiting none would be left for the work.
///
/// ```
/// use pept_kernels::{Backend, LineSlice, background, cutpoints};
///
/// let backend = Backend::auto(); // once for a program: calls take clones of it
/// let lors = vec![[0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 1.0], [2.0, -1.0, 0.1, 0.0, 1.0, 0.1, 0.0]];
/// let own = backend.clone();
/// let points = background(move || {
///     let params = cutpoints::Params::new(0.5).cutoffs([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0]);
///     cutpoints::on(&own, LineSlice::from_rows(&lors), &params)
/// });
/// # let points = pollster::block_on(points)?;
/// # assert_eq!(points.len(), 1);
/// # Ok::<(), pept_kernels::KernelError>(())
/// ```
pub fn background<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> impl Future<Output = R> + Send {
    let shared = Arc::new(Mutex::new(State {
        result: None,
        waker: None,
    }));
    let worker = Arc::clone(&shared);
    rayon::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(work));
        let waker = {
            let mut state = lock(&worker);
            state.result = Some(result);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    });
    Background { shared }
}

struct State<R> {
    result: Option<std::thread::Result<R>>,
    waker: Option<Waker>,
}

struct Background<R> {
    shared: Arc<Mutex<State<R>>>,
}

fn lock<R>(state: &Mutex<State<R>>) -> MutexGuard<'_, State<R>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R> Future for Background<R> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        let mut state = lock(&self.shared);
        match state.result.take() {
            Some(Ok(result)) => Poll::Ready(result),
            Some(Err(panic)) => {
                drop(state);
                resume_unwind(panic)
            }
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
