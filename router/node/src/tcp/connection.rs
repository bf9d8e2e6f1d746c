//! One TCP connection of a client: frames in, frames out.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use duocast_model::{AUDIO_MAX_BYTES, FRAME_HEADER_BYTES, FrameTooLong, Frames, frame_header};
use duocast_router_core::{MAX_DATAGRAM_BYTES, Path};

/// Most bytes taken from a connection at once, before and after the client has proven itself. Higher serves a fast sender in
/// fewer system calls, lower lets others have their turn sooner.
const READ_BYTES_UNPROVEN: usize = 1024;
const READ_BYTES: usize = 16 * 1024;

/// Frames that may wait for a slow reader, besides what the kernel holds. At the bound they are dropped, as on any full
/// link. Higher is heard as delay, lower drops bursts: a keyframe has 30 KiB.
const MAX_QUEUE_BYTES: usize = 64 * 1024;

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The client closed it, or the network did.
    Left,
    /// It sends no frames.
    NoFrames,
}

impl From<FrameTooLong> for Broken {
    fn from(_: FrameTooLong) -> Self {
        Self::NoFrames
    }
}

pub(super) struct Connection {
    stream: TcpStream,
    pub(super) path: Path,
    /// The first bytes of a frame that is not complete.
    partial: Vec<u8>,
    /// Frames to write, of which so many bytes are written.
    queue: Vec<u8>,
    written: usize,
    /// A leg's client sent something on it that authenticated.
    pub(super) is_proven: bool,
    /// When the shard last knew it, or it was opened.
    pub(super) vouched_at: Instant,
    pub(super) heard_at: Instant,
    /// Since when the kernel takes nothing more.
    pub(super) stuck_since: Option<Instant>,
    /// Already noted as having something to write.
    pub(super) is_dirty: bool,
}

impl Connection {
    pub(super) fn new(now: Instant, stream: TcpStream, path: Path) -> Self {
        Self {
            stream,
            path,
            partial: Vec::new(),
            queue: Vec::new(),
            written: 0,
            is_proven: false,
            vouched_at: now,
            heard_at: now,
            stuck_since: None,
            is_dirty: false,
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Reads once and puts the frames that are complete into `bytes`; where each is goes into `frames`.
    pub(super) fn read(
        &mut self,
        now: Instant,
        bytes: &mut Vec<u8>,
        frames: &mut Vec<(Path, Range<usize>)>,
    ) -> Result<(), Broken> {
        let max_read = if self.is_proven { READ_BYTES } else { READ_BYTES_UNPROVEN };
        let start = bytes.len();
        bytes.append(&mut self.partial);
        let read_at = bytes.len();
        bytes.resize(read_at + max_read, 0);
        let read = self.stream.read(&mut bytes[read_at..]);
        bytes.truncate(read_at + read.as_ref().map_or(0, |count| *count));
        match read {
            Ok(0) => return Err(Broken::Left),
            Ok(_) => self.heard_at = now,
            Err(error) if is_passing(&error) => {}
            Err(_) => return Err(Broken::Left),
        }
        let received = &bytes[start..];
        let mut there = Frames::new(received, MAX_DATAGRAM_BYTES);
        while let Some(frame) = there.next_frame()? {
            let end = bytes.len() - there.rest().len();
            frames.push((self.path, end - frame.len()..end));
        }
        self.partial.extend_from_slice(there.rest());
        Ok(())
    }

    /// Queues a datagram; false if it was dropped because the client reads too slowly.
    pub(super) fn queue(&mut self, datagram: &[u8]) -> bool {
        let Some(header) = frame_header(datagram) else { return false };
        // What is too long for audio leaves half of the queue to the others: audio is protected first.
        let room = if datagram.len() > AUDIO_MAX_BYTES { MAX_QUEUE_BYTES / 2 } else { MAX_QUEUE_BYTES };
        if self.waiting() + FRAME_HEADER_BYTES + datagram.len() > room {
            return false;
        }
        self.queue.extend_from_slice(&header);
        self.queue.extend_from_slice(datagram);
        true
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len() - self.written
    }

    /// Writes what the kernel takes.
    pub(super) fn write(&mut self, now: Instant) -> Result<(), Broken> {
        while self.waiting() > 0 {
            match self.stream.write(&self.queue[self.written..]) {
                Ok(0) => return Err(Broken::Left),
                Ok(count) => {
                    self.written += count;
                    self.stuck_since = None;
                }
                Err(error) if is_passing(&error) => {
                    self.stuck_since.get_or_insert(now);
                    self.queue.drain(..self.written);
                    self.written = 0;
                    return Ok(());
                }
                Err(_) => return Err(Broken::Left),
            }
        }
        self.queue.clear();
        self.written = 0;
        self.stuck_since = None;
        Ok(())
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
