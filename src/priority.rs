//! The scheduling priority of threads.

use rustix::process::setpriority_process;

/// The nice value of low-priority threads (see setpriority(2)).
///
/// On a saturated core, a thread with this value still gets a third of the CPU time if it competes with one other
/// thread. If visits are spread over a million links, writing counts takes a fifth, and creates need the rest.
const NICE: i32 = 3;

/// Lowers the priority of the calling thread below that of the threads that serve requests.
///
/// Failures are ignored, because a thread with the wrong priority works as well.
pub(crate) fn lower() {
    // On Linux, each thread has its own nice value.
    let _ = setpriority_process(None, NICE);
}
