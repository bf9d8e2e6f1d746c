//! Fetching memory ahead. With a thousand legs on a core, what one needs has left the fast caches each time it is visited, and the visit waits
//! for memory, piece by piece, longer than it works. Who visits many in a row has the next ones' fetched meanwhile.

/// Bytes that memory is fetched by, on the processors that this is for.
const LINE_BYTES: usize = 64;

/// Most that is asked for at once: what a core can have under way is a few tens of lines.
const MAX_LINES: usize = 64;

/// Most of it for a vector's room.
const ROOM_LINES: usize = 4;

/// Asks the processor to bring `value`, not what it points to, into its caches. It changes nothing but time, and does nothing where the
/// processor's hint is not known.
#[inline]
pub fn prefetch<T: ?Sized>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<u8>();
    let lines = size_of_val(value).div_ceil(LINE_BYTES).min(MAX_LINES);
    for line in 0..lines {
        hint(start.wrapping_add(line * LINE_BYTES));
    }
}

/// The same for the memory of a vector that is to be filled from its beginning: as much as a packet of sound takes.
#[inline]
pub fn prefetch_room<T>(vector: &Vec<T>) {
    let lines = (vector.capacity() * size_of::<T>()).div_ceil(LINE_BYTES).min(ROOM_LINES);
    for line in 0..lines {
        hint(vector.as_ptr().cast::<u8>().wrapping_add(line * LINE_BYTES));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn hint(at: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint reads and writes nothing, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn hint(_: *const u8) {}
