//! Work that takes much memory for a while.

use std::panic::resume_unwind;
use std::thread;

/// Does `work` on a thread that ends with it, and waits. Where each thread allocates from memory of its own, as in glibc, a
/// thread that lives on keeps what it has freed; that of one that has ended serves the next.
pub(crate) fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    // A panic there goes on here.
    thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|panic| resume_unwind(panic)))
}
