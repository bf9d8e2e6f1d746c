//! The system calls that std lacks, each behind a safe function.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Wakes a worker that sleeps in [`wait`].
#[derive(Debug)]
pub(crate) struct Wake(OwnedFd);

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Ends the present or next wait.
    pub(crate) fn wake(&self) {
        let one: u64 = 1;
        // SAFETY: eight readable bytes, as eventfd wants. It fails only when the counter is full: then it is awake.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    fn clear(&self) {
        let mut count: u64 = 0;
        // SAFETY: eight writable bytes, as eventfd wants. It fails only when there is nothing to clear.
        let _ = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

/// One descriptor that stands for many (epoll, level-triggered): it can be read when one of them is ready.
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

/// A descriptor of an [`Epoll`] that can be read, or was closed by the other end.
pub(crate) struct Ready {
    /// As it was added.
    pub(crate) number: u64,
    pub(crate) can_write: bool,
}

/// Most that one look at an [`Epoll`] tells; the others come with the next, in turn.
const MAX_READY: usize = 64;

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches until it can be read. It leaves by being closed.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, number: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, number, libc::EPOLLIN)
    }

    /// Watches until it can be written as well, or no more.
    pub(crate) fn set_writing(&self, fd: BorrowedFd<'_>, number: u64, on: bool) {
        let also = if on { libc::EPOLLOUT } else { 0 };
        // It fails only for a descriptor that is not there.
        let _ = self.control(libc::EPOLL_CTL_MOD, fd, number, libc::EPOLLIN | also);
    }

    /// Stops watching, or watches again until it can be read.
    pub(crate) fn set_reading(&self, fd: BorrowedFd<'_>, number: u64, on: bool) {
        let _ = self.control(libc::EPOLL_CTL_MOD, fd, number, if on { libc::EPOLLIN } else { 0 });
    }

    fn control(&self, how: libc::c_int, fd: BorrowedFd<'_>, number: u64, events: i32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events.unsigned_abs(), u64: number };
        // SAFETY: both descriptors are open, and `event` is only read during the call.
        let result = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), how, fd.as_raw_fd(), &raw mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// What is ready now, without waiting.
    pub(crate) fn ready(&self) -> impl Iterator<Item = Ready> + use<> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; MAX_READY];
        // SAFETY: `events` has MAX_READY entries to write to. An error (EINTR) is nothing ready.
        let count =
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), MAX_READY as libc::c_int, 0) };
        let count = usize::try_from(count).unwrap_or(0);
        events.into_iter().take(count).map(|event| Ready {
            number: event.u64,
            can_write: event.events & libc::EPOLLOUT.unsigned_abs() != 0,
        })
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How many descriptors this process may have open.
pub(crate) fn open_files_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a writable rlimit. It fails only for a resource that is none.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// Sleeps until a socket or `other` can be read, the wake is used, or the time is over (`None`: no limit). True if `other` can
/// be read.
pub(crate) fn wait<'a>(
    sockets: impl Iterator<Item = BorrowedFd<'a>>,
    other: Option<BorrowedFd<'a>>,
    wake: &Wake,
    timeout: Option<Duration>,
) -> bool {
    /// The sockets, the wake and the other; more sockets than this are not waited for, so `Sockets` has no more.
    const MAX: usize = crate::udp::MAX_SOCKETS + 2;
    let unused = libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 };
    let mut fds = [unused; MAX];
    fds[0].fd = wake.0.as_raw_fd();
    fds[1].fd = other.map_or(-1, |other| other.as_raw_fd());
    for (slot, socket) in fds[2..].iter_mut().zip(sockets) {
        slot.fd = socket.as_raw_fd();
    }
    let limit = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs().min(i32::MAX as u64) as libc::time_t,
        tv_nsec: t.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), |limit| &raw const *limit);
    // SAFETY: `fds` has MAX entries, `limit` is null or points to a timespec that lives on; no signal mask. An error
    // (EINTR) is a wake-up without news.
    unsafe { libc::ppoll(fds.as_mut_ptr(), MAX as libc::nfds_t, limit, std::ptr::null()) };
    if fds[0].revents != 0 {
        wake.clear();
    }
    fds[1].revents != 0
}

/// Has the kernel back this memory with small pages, from now on. For what is used here and there only: with huge ones (2 MiB) all of it is there as
/// soon as any of it is.
pub(crate) fn use_small_pages(memory: &mut [u8]) {
    const PAGE_BYTES: usize = 4096;
    let skipped = memory.as_ptr().align_offset(PAGE_BYTES).min(memory.len());
    let whole = &mut memory[skipped..];
    let len = whole.len() / PAGE_BYTES * PAGE_BYTES;
    // SAFETY: these pages are this slice's alone, and the advice changes nothing of what is in them. A kernel without huge pages refuses it.
    let _ = unsafe { libc::madvise(whole.as_mut_ptr().cast(), len, libc::MADV_NOHUGEPAGE) };
}

/// Cores that the calling thread may run on, ascending; empty if there are more than the 1,024 that fit.
pub(crate) fn allowed_cores() -> Vec<usize> {
    // SAFETY: all bits zero is a set without cores.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: a writable set of this size, for the calling thread.
    let failed = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } != 0;
    let most = if failed { 0 } else { 8 * size_of_val(&set) };
    // SAFETY: the index is below the number of bits of the set.
    (0..most).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect()
}

/// Keeps the calling thread on one core.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    // SAFETY: all bits zero is a set without cores.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if core >= 8 * size_of_val(&set) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the index is below the number of bits of the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: a set of this size, for the calling thread.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The calling thread runs before all others of its core that are not real-time ones: `sched(7)`, `SCHED_RR` with the lowest priority of it. The kernel
/// leaves the others a twentieth of a core, so that a thread that never sleeps cannot stop a machine.
pub(crate) fn run_before_all_else() -> io::Result<()> {
    // SAFETY: all fields are integers; musl has more of them than glibc.
    let mut lowest: libc::sched_param = unsafe { std::mem::zeroed() };
    lowest.sched_priority = 1;
    // SAFETY: a parameter that outlives the call, for the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const lowest) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// CPU time that the calling thread has used.
pub(crate) fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a writable timespec. This clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// The addresses of this machine's interfaces that are up; empty if the system does not tell.
pub(crate) fn interface_addresses() -> Vec<IpAddr> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs writes the head of a list that is freed below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` is an entry of the list, which is not freed yet.
        let entry = unsafe { &*next };
        if entry.ifa_flags & libc::IFF_UP as u32 != 0 && !entry.ifa_addr.is_null() {
            // SAFETY: `ifa_addr` is not null and holds a socket address of the family it names.
            found.extend(unsafe { ip_of(entry.ifa_addr) });
        }
        next = entry.ifa_next;
    }
    // SAFETY: the list came from getifaddrs and is not used any more.
    unsafe { libc::freeifaddrs(list) };
    found
}

/// # Safety
/// `address` points to a socket address that is as long as its family says.
unsafe fn ip_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: by contract; the family decides how much is read.
    unsafe {
        match i32::from((*address).sa_family) {
            libc::AF_INET => {
                let v4 = address.cast::<libc::sockaddr_in>().read_unaligned();
                Some(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 => {
                let v6 = address.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pages_keep_what_is_in_them_wherever_the_memory_begins_and_ends() {
        let mut memory: Vec<u8> = (0..100_000).map(|n| n as u8).collect();
        for (from, until) in [(0, 100_000), (1, 99_999), (4_097, 8_190), (10, 20), (5, 5)] {
            use_small_pages(&mut memory[from..until]);
        }
        assert!(memory.iter().enumerate().all(|(n, byte)| *byte == n as u8));
        // The kernel has noted it (proc_pid_smaps(5): nh), if it knows huge pages at all.
        let page = memory.as_ptr() as usize + 50_000;
        let (mut is_here, mut flags) = (false, None);
        for line in std::fs::read_to_string("/proc/self/smaps").unwrap_or_default().lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let range = range.and_then(|(from, until)| {
                Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(until, 16).ok()?)
            });
            is_here = range.map_or(is_here, |range| range.contains(&page));
            flags = flags.or(line.strip_prefix("VmFlags:").filter(|_| is_here).map(str::to_owned));
        }
        let knows_huge_pages = std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
        assert!(!knows_huge_pages || flags.is_some_and(|flags| flags.split(' ').any(|flag| flag == "nh")));
    }
}
