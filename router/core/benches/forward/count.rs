//! Counts what the shard allocates; what the clients of the benchmark allocate is left out.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use mimalloc::MiMalloc;

static IS_ON: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

/// The router's allocator, with a count.
pub(crate) struct Counting;

/// Totals of all counted stretches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count {
    pub(crate) allocations: u64,
    /// Asked for and not given back.
    pub(crate) live_bytes: i64,
}

/// Counts what `body` does.
pub(crate) fn counted<T>(body: impl FnOnce() -> T) -> T {
    IS_ON.store(true, Relaxed);
    let result = body();
    IS_ON.store(false, Relaxed);
    result
}

/// Up to now.
pub(crate) fn so_far() -> Count {
    Count { allocations: ALLOCATIONS.load(Relaxed), live_bytes: LIVE_BYTES.load(Relaxed) }
}

fn note(allocations: u64, bytes: i64) {
    if IS_ON.load(Relaxed) {
        ALLOCATIONS.fetch_add(allocations, Relaxed);
        LIVE_BYTES.fetch_add(bytes, Relaxed);
    }
}

// SAFETY: every call goes to MiMalloc as it came; counting touches atomics only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        note(0, -(layout.size() as i64));
        // SAFETY: the caller's promise is passed on.
        unsafe { MiMalloc.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(1, new_size as i64 - layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { MiMalloc.realloc(ptr, layout, new_size) }
    }
}
