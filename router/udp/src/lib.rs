//! Many datagrams to many addresses in one system call (sendmmsg), and runs of equal ones in one of its messages (UDP GSO): for the
//! router, and for the load generator, which must cost less than what it measures.

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Most messages of one call. The kernel takes up to 1,024; beyond a few tens a message more costs what it costs anyway.
pub const MAX_MESSAGES: usize = 64;

/// Room for a run's datagram size and the address it leaves from, whichever family.
const CONTROL_BYTES: usize = 128;

/// A datagram, or several of one size back to back, of which the last may be shorter.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// Where it goes.
    pub destination: SocketAddr,
    /// The address that it leaves from; the kernel's choice if there is none.
    pub source: Option<IpAddr>,
    /// The datagram, or all of them back to back.
    pub contents: &'a [u8],
    /// The size of each, if there are several.
    pub segment: Option<u16>,
}

/// What the kernel is given, used again from call to call.
pub struct Batch {
    headers: Box<[libc::mmsghdr; MAX_MESSAGES]>,
    slices: Box<[libc::iovec; MAX_MESSAGES]>,
    names: Box<[libc::sockaddr_storage; MAX_MESSAGES]>,
    controls: Box<[Control; MAX_MESSAGES]>,
}

// SAFETY: the pointers in it are written anew before each call and not followed between calls.
unsafe impl Send for Batch {}

#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Control([u8; CONTROL_BYTES]);

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// With room for [`MAX_MESSAGES`].
    pub fn new() -> Self {
        // SAFETY: all of these are plain old data, for which zeros are a value.
        let (headers, slices, names) = unsafe { (zeroed(), zeroed(), zeroed()) };
        Self {
            headers: Box::new(headers),
            slices: Box::new(slices),
            names: Box::new(names),
            controls: Box::new([Control([0; CONTROL_BYTES]); MAX_MESSAGES]),
        }
    }

    /// Sends the messages, as many as a call takes; how many the kernel took. Errors: it did not take the first.
    pub fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        messages: impl Iterator<Item = Message<'a>>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for (at, message) in messages.take(MAX_MESSAGES).enumerate() {
            self.prepare(at, &message);
            count = at + 1;
        }
        // SAFETY: `count` headers were prepared; what they point to is in this batch or in the messages' contents, which both
        // outlive the call. The kernel does not write to contents and names.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count as libc::c_uint, 0)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    fn prepare(&mut self, at: usize, message: &Message<'_>) {
        let name_len = write_name(message.destination, &mut self.names[at]);
        self.slices[at] = libc::iovec {
            iov_base: message.contents.as_ptr().cast_mut().cast(),
            iov_len: message.contents.len(),
        };
        let header = &mut self.headers[at].msg_hdr;
        header.msg_name = (&raw mut self.names[at]).cast();
        header.msg_namelen = name_len;
        header.msg_iov = &raw mut self.slices[at];
        header.msg_iovlen = 1;
        let mut controls = Controls { bytes: &mut self.controls[at].0, used: 0 };
        if let Some(segment) = message.segment {
            controls.add(libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
        }
        match message.source {
            // An address of the other family cannot be left from.
            Some(IpAddr::V4(source)) if message.destination.is_ipv4() => {
                // in_pktinfo: index of the interface (any), the address to leave from, and one that is not read.
                let mut info = [0; size_of::<libc::in_pktinfo>()];
                info[4..8].copy_from_slice(&source.octets());
                controls.add(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            Some(IpAddr::V6(source)) if message.destination.is_ipv6() => {
                // in6_pktinfo: the address to leave from, index of the interface (any).
                let mut info = [0; size_of::<libc::in6_pktinfo>()];
                info[..16].copy_from_slice(&source.octets());
                controls.add(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            _ => {}
        }
        header.msg_controllen = controls.used as _;
        header.msg_control =
            if controls.used == 0 { std::ptr::null_mut() } else { controls.bytes.as_mut_ptr().cast() };
    }
}

/// Has the kernel hand over datagrams one by one, and not in runs that it joined (UDP GRO): for who has no room for 64 of them.
///
/// Errors: what the kernel says; one that cannot join refuses.
pub fn take_apart(socket: BorrowedFd<'_>) -> io::Result<()> {
    let off: libc::c_int = 0;
    let len = size_of_val(&off) as libc::socklen_t;
    // SAFETY: the option is an int, which is read during the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_GRO, (&raw const off).cast(), len)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Control messages (RFC 3542 section 20.2), one after the other.
struct Controls<'a> {
    bytes: &'a mut [u8; CONTROL_BYTES],
    used: usize,
}

impl Controls<'_> {
    fn add(&mut self, level: libc::c_int, kind: libc::c_int, value: &[u8]) {
        // SAFETY: these only compute.
        let (len, space) = unsafe {
            (libc::CMSG_LEN(value.len() as libc::c_uint), libc::CMSG_SPACE(value.len() as libc::c_uint))
        };
        // SAFETY: plain old data, for which zeros are a value. Some systems have padding in it that cannot be named.
        let mut head: libc::cmsghdr = unsafe { zeroed() };
        (head.cmsg_len, head.cmsg_level, head.cmsg_type) = (len as _, level, kind);
        let room = &mut self.bytes[self.used..self.used + space as usize];
        // SAFETY: all bytes of it were written, above; as many as it has are read.
        let head_bytes =
            unsafe { std::slice::from_raw_parts((&raw const head).cast::<u8>(), size_of_val(&head)) };
        room[..head_bytes.len()].copy_from_slice(head_bytes);
        let value_at = len as usize - value.len();
        room[value_at..len as usize].copy_from_slice(value);
        self.used += space as usize;
    }
}

/// Writes an address as the kernel has it; how many bytes of it count.
fn write_name(address: SocketAddr, name: &mut libc::sockaddr_storage) -> libc::socklen_t {
    let len = match address {
        SocketAddr::V4(v4) => {
            let target = (&raw mut *name).cast::<libc::sockaddr_in>();
            let value = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: a sockaddr_storage has room and alignment for every kind of address.
            unsafe { target.write(value) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let target = (&raw mut *name).cast::<libc::sockaddr_in6>();
            let value = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { target.write(value) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    len as libc::socklen_t
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;

    fn bound(ip: IpAddr) -> Option<UdpSocket> {
        let socket = UdpSocket::bind((ip, 0)).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Some(socket)
    }

    #[test]
    fn each_gets_its_own_from_the_address_that_was_asked_for() {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        for (ip, any) in loopback.into_iter().zip(any) {
            // A machine without IPv6 has nothing to show of it.
            let Some(from) = bound(any) else { continue };
            let to: Vec<UdpSocket> = (0..3).map(|_| bound(ip).unwrap()).collect();
            let contents: Vec<Vec<u8>> = (1..=3).map(|n| vec![n; 250 * usize::from(n)]).collect();
            let messages = to.iter().zip(&contents).map(|(socket, contents)| Message {
                destination: socket.local_addr().unwrap(),
                source: Some(ip),
                contents,
                segment: Some(250),
            });
            assert_eq!(Batch::new().send(from.as_fd(), messages).unwrap(), 3);
            for (n, socket) in (1..=3).zip(&to) {
                let mut buffer = [0; 2000];
                for _ in 0..n {
                    let (len, source) = socket.recv_from(&mut buffer).unwrap();
                    assert_eq!((len, buffer[0], source.ip()), (250, n, ip));
                    assert_eq!(source.port(), from.local_addr().unwrap().port());
                }
            }
        }
    }

    #[test]
    fn what_comes_before_one_that_is_refused_is_sent_and_that_one_is_told() {
        let from = bound(Ipv4Addr::LOCALHOST.into()).unwrap();
        let to = bound(Ipv4Addr::LOCALHOST.into()).unwrap();
        let destination = to.local_addr().unwrap();
        let message = |contents| Message { destination, source: None, contents, segment: None };
        let too_long = vec![0; 70_000];
        let mut batch = Batch::new();
        let messages = [message(b"one"), message(b"two"), message(&too_long), message(b"four")];
        assert_eq!(batch.send(from.as_fd(), messages.into_iter()).unwrap(), 2);
        assert!(batch.send(from.as_fd(), messages[2..].iter().copied()).is_err());
        assert_eq!(batch.send(from.as_fd(), messages[3..].iter().copied()).unwrap(), 1);
        let mut buffer = [0; 10];
        let mut next = || to.recv(&mut buffer).map(|len| buffer[..len].to_vec()).unwrap();
        assert_eq!([next(), next(), next()], [b"one".to_vec(), b"two".to_vec(), b"four".to_vec()]);
    }
}
