//! A publisher's packet on its way to its viewers.

use str0m::media::{MediaKind, Pt};

use super::clock::PublisherClock;
use super::link::Link;
use super::selector::Verdict;
use super::{Delivery, Forward, SourceId};
use crate::counters::{Counters, DropReason};
use crate::demux::LegKey;
use duocast_media::{CARRIED_BYTES_MAX, Extensions, Packet, Renumbered, Write};

/// A packet, and what is to be known of it for each viewer.
struct Way<'a> {
    source: SourceId,
    packet: &'a Packet,
    kind: MediaKind,
    is_layered: bool,
    /// Somebody waits for a key frame of its encoding.
    is_awaited: bool,
}

impl Forward {
    /// An authenticated packet of a publisher: appends what its viewers get to `out`, or counts why they get nothing.
    pub(crate) fn handle_packet(
        &mut self,
        from: LegKey,
        packet: &Packet,
        counters: &mut Counters,
        out: &mut Vec<Delivery>,
    ) {
        let mid = packet.mid;
        let Some(leg) = self.legs.get_mut(&from) else { return counters.drop_packet(DropReason::NotRouted) };
        let Some(index) = leg.publishes.iter().position(|p| p.track.mid == mid) else {
            return counters.drop_packet(DropReason::NotRouted);
        };
        if leg.publishes.get(index).is_none_or(|published| published.links.is_empty()) {
            if !leg.is_viewed_elsewhere {
                counters.drop_packet(DropReason::NotRouted);
            }
            return;
        }
        self.note_layer(from, index, packet);
        let Some(leg) = self.legs.get_mut(&from) else { return };
        let Some(published) = leg.publishes.get_mut(index) else { return };
        let (kind, is_layered) = (published.track.kind, published.is_layered());
        let links = std::mem::take(&mut published.links);
        let mut clock = std::mem::take(&mut leg.clock);
        let source = SourceId { leg: from, ssrc: packet.ssrc };
        let mut way = Way { source, packet, kind, is_layered, is_awaited: false };
        for link in &links {
            match self.deliver(link, &mut way, &mut clock) {
                Ok(delivery) => {
                    let forwarded = match kind {
                        MediaKind::Audio => &mut counters.audio_forwarded,
                        MediaKind::Video => &mut counters.video_forwarded,
                    };
                    *forwarded += u64::from(!delivery.write.is_carried);
                    out.push(delivery);
                }
                Err(reason) => counters.drop_packet(reason),
            }
        }
        if let Some(leg) = self.legs.get_mut(&from) {
            leg.clock = clock;
            if let Some(published) = leg.publishes.get_mut(index) {
                published.links = links;
            }
        }
        if way.is_awaited {
            self.wish_again(packet.arrival, from, index, packet.encoding);
        }
    }

    /// Takes note of what a layer brings, and looks at viewers' choices where that changes them.
    fn note_layer(&mut self, from: LegKey, index: usize, packet: &Packet) {
        let published = self.legs.get_mut(&from).and_then(|leg| leg.publishes.get_mut(index));
        let Some(layers) = published.and_then(|published| published.layers.as_mut()) else { return };
        let bytes = packet.payload.len();
        let has_changed = bytes > 0
            && layers.note(packet.arrival, packet.encoding, &packet.frame, bytes)
            && layers.is_layered();
        if has_changed {
            self.viewers_of(from, index).into_iter().for_each(|viewer| self.allocate(packet.arrival, viewer));
        }
    }

    fn deliver(
        &mut self,
        link: &Link,
        way: &mut Way<'_>,
        clock: &mut PublisherClock,
    ) -> Result<Delivery, DropReason> {
        let Way { source, packet, kind, is_layered, .. } = *way;
        let viewer = self.legs.get_mut(&link.to).filter(|v| v.live).ok_or(DropReason::ViewerAbsent)?;
        let view = link.view.and_then(|i| viewer.views.get_mut(i)).ok_or(DropReason::NoTrack)?;
        let sequence_number = packet.sequence_number;
        if packet.payload.is_empty() {
            view.rewriter.skip(source, sequence_number);
            return Err(DropReason::Padding);
        }
        let payload_type = Pt::from(packet.payload_type);
        let Some(mapping) = link.payload_types.iter().find(|m| m.from == payload_type) else {
            view.rewriter.skip(source, sequence_number);
            return Err(DropReason::NoCommonCodec);
        };
        let payload =
            if mapping.is_redundant { packet.primary.clone() } else { Some(packet.payload.clone()) };
        let Some(payload) = payload else {
            view.rewriter.skip(source, sequence_number);
            return Err(DropReason::Malformed);
        };
        let (mut marker, mut is_begun) = (packet.marker, false);
        if !is_layered {
            view.selector.follow(source);
        } else {
            let verdict = view.selector.decide(source, packet.encoding, &packet.frame);
            way.is_awaited |= view.selector.awaits(packet.encoding);
            match verdict {
                Verdict::Pass { begins, is_last } => {
                    marker |= is_last;
                    is_begun = begins;
                    if begins {
                        view.rewriter.interrupt();
                        view.pictures.interrupt();
                    }
                }
                Verdict::LeaveOut => {
                    view.rewriter.skip(source, sequence_number);
                    view.pictures.leave_out(&packet.frame);
                    return Err(DropReason::LayerNotChosen);
                }
                Verdict::Ignore => return Err(DropReason::LayerNotChosen),
            }
        }
        let (timestamp, clock_rate) = (packet.timestamp, mapping.clock_rate);
        let (arrival, rate) = (packet.arrival, u64::from(clock_rate));
        // By itself it would be late, and players hold back everything by the packets that are late.
        let can_be_carried =
            packet.is_recovered && mapping.redundant.is_some() && payload.len() <= CARRIED_BYTES_MAX;
        let carried =
            if can_be_carried { view.rewriter.carry(source, sequence_number, timestamp) } else { None };
        let place =
            carried.or_else(|| view.rewriter.place(arrival, source, sequence_number, timestamp, rate));
        let place = place.ok_or(DropReason::TooLate)?;
        let renumbered = if is_layered { view.pictures.place(&packet.frame) } else { Renumbered::default() };
        let captured = clock.captured(arrival, timestamp, rate, packet.report.as_ref());
        let capture_time = packet.extensions.capture_time.map(u64::from_be_bytes);
        let write = Write {
            payload_type: *mapping.to,
            marker,
            sequence_number: place.sequence_number,
            timestamp: place.timestamp,
            captured,
            clock_rate,
            extensions: Extensions { capture_time: None, ..packet.extensions },
            capture_time: capture_time.and_then(|at| clock.moment(arrival, at)),
            descriptor: packet.descriptor.clone(),
            payload,
            is_repaired: kind.is_video() && mapping.repaired,
            begins: is_begun,
            redundant: mapping.redundant.map(|payload_type| *payload_type),
            is_carried: carried.is_some(),
            renumbered,
        };
        Ok(Delivery { to: link.to, mid: view.track.mid, write })
    }
}
