//! A publisher's packet on its way to its viewers.

use str0m::media::{MediaKind, Pt};

use super::clock::PublisherClock;
use super::link::{Link, Sound};
use super::{Delivery, Forward, SourceId};
use crate::counters::{Counters, DropReason};
use crate::demux::LegKey;
use crate::media::{Packet, Write};

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
        let Some(published) = leg.publishes.iter_mut().find(|p| p.track.mid == mid) else {
            return counters.drop_packet(DropReason::NotRouted);
        };
        if published.links.is_empty() {
            return counters.drop_packet(DropReason::NotRouted);
        }
        let kind = published.track.kind;
        let links = std::mem::take(&mut published.links);
        let mut clock = std::mem::take(&mut leg.clock);
        let source = SourceId { leg: from, ssrc: packet.ssrc };
        for link in &links {
            match self.deliver(link, source, packet, kind, &mut clock) {
                Ok(delivery) => {
                    let forwarded = match kind {
                        MediaKind::Audio => &mut counters.audio_forwarded,
                        MediaKind::Video => &mut counters.video_forwarded,
                    };
                    *forwarded += 1;
                    out.push(delivery);
                }
                Err(reason) => counters.drop_packet(reason),
            }
        }
        if let Some(leg) = self.legs.get_mut(&from) {
            leg.clock = clock;
            if let Some(published) = leg.publishes.iter_mut().find(|p| p.track.mid == mid) {
                published.links = links;
            }
        }
    }

    fn deliver(
        &mut self,
        link: &Link,
        source: SourceId,
        packet: &Packet,
        kind: MediaKind,
        clock: &mut PublisherClock,
    ) -> Result<Delivery, DropReason> {
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
        let (payload, redundant) = match mapping.sound {
            Sound::Same => (Some(packet.payload.clone()), None),
            Sound::Unwrapped => (packet.primary.clone(), None),
            Sound::Wrapped(payload_type) => (Some(packet.payload.clone()), Some(*payload_type)),
        };
        let Some(payload) = payload else {
            view.rewriter.skip(source, sequence_number);
            return Err(DropReason::Malformed);
        };
        let (timestamp, clock_rate) = (packet.timestamp, mapping.clock_rate);
        let (arrival, rate) = (packet.arrival, u64::from(clock_rate));
        let place = view.rewriter.place(arrival, source, sequence_number, timestamp, rate);
        let place = place.ok_or(DropReason::TooLate)?;
        let captured = clock.captured(arrival, timestamp, rate, packet.report.as_ref());
        let write = Write {
            payload_type: *mapping.to,
            marker: packet.marker,
            sequence_number: place.sequence_number,
            timestamp: place.timestamp,
            captured,
            clock_rate,
            extensions: packet.extensions,
            descriptor: packet.descriptor.clone(),
            payload,
            is_repaired: kind.is_video() && mapping.repaired,
            redundant,
        };
        Ok(Delivery { to: link.to, mid: view.track.mid, write })
    }
}
