//! RTCP: what clients say, read; what is said to them, written. Both without encryption.
//!
//! Feedback goes out alone, without a report in front of it (RFC 5506), as browsers send it themselves.

use rtcp_types::prelude::*;
use rtcp_types::{
    Bye, DelaySinceLastReceiverReport, DelaySinceLastReceiverReportBlock, Fir, Nack, PayloadFeedback, Pli,
    ReceiverReferenceTime, ReceiverReport, ReportBlock, ReportBlockBuilder, Sdes, SdesChunk, SdesItem,
    TransportFeedback, Twcc, TwccBuilder, Xr,
};

use crate::reception::{Block, SenderReport};
use crate::send::SenderInfo;

/// Block types of extended reports (RFC 3611 section 4.4 and 4.5).
const REFERENCE_TIME: u8 = 4;
const ANSWERED_TIMES: u8 = 5;

/// Blocks of one report, which its head counts with five bits.
const MAX_BLOCKS: usize = 31;

/// Application layer feedback (RFC 4585 section 6.4).
const APPLICATION: u8 = 15;

/// What an estimate of the receiver's own begins with, as application layer feedback (draft-alvestrand-rmcat-remb-03).
const REMB: &[u8; 4] = b"REMB";

/// One thing that a client says.
#[derive(Debug)]
pub(crate) enum Said<'a> {
    /// When the timestamps of this source are.
    Report { ssrc: u32, report: SenderReport },
    /// It receives this SSRC, and lost so many of 256 packets since it said so before.
    Receives { ssrc: u32, lost: u8 },
    /// It misses this packet.
    Misses { ssrc: u32, number: u16 },
    /// It needs a key frame.
    NeedsKeyframe { ssrc: u32 },
    /// Its own time, to be given back with the next report: the middle bits.
    Time { ssrc: u32, middle: u32 },
    /// Our own time comes back, and how long it was kept: both 16.16.
    Answer { sent: u32, delay: u32 },
    /// When packets arrived, by their transport-wide numbers.
    Arrivals(Twcc<'a>),
    /// It takes its path to carry this much.
    Carries { bits_per_second: u64 },
}

/// Reads a compound packet, as far as it can be read.
pub(crate) fn read<'a>(mut packets: &'a [u8], mut say: impl FnMut(Said<'a>)) {
    while let Some(head) = packets.first_chunk::<4>() {
        let len = 4 * (usize::from(u16::from_be_bytes([head[2], head[3]])) + 1);
        let Some((packet, rest)) = packets.split_at_checked(len) else { return };
        read_one(head[1], packet, &mut say);
        packets = rest;
    }
}

fn read_one<'a>(packet_type: u8, packet: &'a [u8], say: &mut impl FnMut(Said<'a>)) {
    let mut receives =
        |block: ReportBlock<'_>| say(Said::Receives { ssrc: block.ssrc(), lost: block.fraction_lost() });
    match packet_type {
        rtcp_types::SenderReport::PACKET_TYPE => {
            let Ok(report) = rtcp_types::SenderReport::parse(packet) else { return };
            report.report_blocks().for_each(&mut receives);
            let (ntp, timestamp) = (report.ntp_timestamp(), report.rtp_timestamp());
            say(Said::Report { ssrc: report.ssrc(), report: SenderReport { ntp, timestamp } });
        }
        ReceiverReport::PACKET_TYPE => {
            let Ok(report) = ReceiverReport::parse(packet) else { return };
            report.report_blocks().for_each(&mut receives);
        }
        TransportFeedback::PACKET_TYPE => {
            let Ok(feedback) = TransportFeedback::parse(packet) else { return };
            if let Ok(nack) = feedback.parse_fci::<Nack<'_>>() {
                let ssrc = feedback.media_ssrc();
                nack.entries().for_each(|number| say(Said::Misses { ssrc, number }));
            } else if let Ok(arrivals) = feedback.parse_fci::<Twcc<'_>>() {
                say(Said::Arrivals(arrivals));
            }
        }
        PayloadFeedback::PACKET_TYPE => {
            let Ok(feedback) = PayloadFeedback::parse(packet) else { return };
            if feedback.parse_fci::<Pli<'_>>().is_ok() {
                say(Said::NeedsKeyframe { ssrc: feedback.media_ssrc() });
            } else if let Ok(request) = feedback.parse_fci::<Fir<'_>>() {
                request.entries().for_each(|entry| say(Said::NeedsKeyframe { ssrc: entry.ssrc() }));
            } else if let Some(bits_per_second) = own_estimate(packet) {
                say(Said::Carries { bits_per_second });
            }
        }
        Xr::PACKET_TYPE => read_extended(packet, say),
        _ => {}
    }
}

/// What a receiver's own estimate says: six bits of exponent, eighteen of mantissa.
fn own_estimate(packet: &[u8]) -> Option<u64> {
    let (head, body) = packet.split_first_chunk::<12>()?;
    let (name, body) = body.split_first_chunk::<4>()?;
    let [_, high, middle, low] = body.first_chunk()?;
    let mantissa = u32::from_be_bytes([0, high & 0x03, *middle, *low]);
    let is_estimate = head[0] & 0x1f == APPLICATION && name == REMB;
    is_estimate.then(|| u64::from(mantissa).saturating_mul(1 << (high >> 2)))
}

/// By hand: the library reads a block to the end of the packet, and no second answer.
fn read_extended<'a>(packet: &'a [u8], say: &mut impl FnMut(Said<'a>)) {
    let word = |bytes: &[u8]| bytes.first_chunk::<4>().map(|word| u32::from_be_bytes(*word));
    let Some((ssrc, mut blocks)) = packet.get(4..).and_then(|rest| Some((word(rest)?, rest.get(4..)?)))
    else {
        return;
    };
    while let Some(head) = blocks.first_chunk::<4>() {
        let len = 4 * (usize::from(u16::from_be_bytes([head[2], head[3]])) + 1);
        let Some((block, rest)) = blocks.split_at_checked(len) else { return };
        match (head[0], &block[4..]) {
            (REFERENCE_TIME, [_, _, a, b, c, d, _, _]) => {
                say(Said::Time { ssrc, middle: u32::from_be_bytes([*a, *b, *c, *d]) });
            }
            (ANSWERED_TIMES, answers) => {
                for answer in answers.chunks_exact(12) {
                    let (sent, delay) = (word(&answer[4..]), word(&answer[8..]));
                    if let (Some(sent), Some(delay)) = (sent, delay) {
                        say(Said::Answer { sent, delay });
                    }
                }
            }
            _ => {}
        }
        blocks = rest;
    }
}

/// Asks for packets that did not come.
pub(crate) fn write_nack(sender: u32, source: u32, numbers: &[u16], out: &mut Vec<u8>) -> bool {
    let nack = numbers.iter().fold(Nack::builder(), |nack, number| nack.add_rtp_sequence(*number));
    append(&TransportFeedback::builder(&nack).sender_ssrc(sender).media_ssrc(source), out)
}

/// Asks for a key frame.
pub(crate) fn write_keyframe_request(sender: u32, source: u32, out: &mut Vec<u8>) -> bool {
    append(&PayloadFeedback::builder(&Pli::builder()).sender_ssrc(sender).media_ssrc(source), out)
}

/// Says how much is to be sent here at most, in bits per second (draft-alvestrand-rmcat-remb-03), of these sources. What has more than eighteen bits
/// is rounded down.
pub(crate) fn write_limit(sender: u32, sources: &[u32], bits: u64, out: &mut Vec<u8>) -> bool {
    let sources = &sources[..sources.len().min(usize::from(u8::MAX))];
    let exponent = (u64::BITS - bits.leading_zeros()).saturating_sub(18);
    let words = 4 + sources.len() as u16;
    out.extend_from_slice(&[0x80 | APPLICATION, PayloadFeedback::PACKET_TYPE]);
    out.extend_from_slice(&words.to_be_bytes());
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(REMB);
    let value = exponent << 18 | (bits >> exponent) as u32;
    out.extend_from_slice(&(u32::from(sources.len() as u8) << 24 | value).to_be_bytes());
    sources.iter().for_each(|source| out.extend_from_slice(&source.to_be_bytes()));
    true
}

/// Says when packets arrived.
pub(crate) fn write_arrivals(sender: u32, source: u32, arrivals: &TwccBuilder, out: &mut Vec<u8>) -> bool {
    append(&TransportFeedback::builder(arrivals).sender_ssrc(sender).media_ssrc(source), out)
}

/// Says that these SSRCs end, at most 31.
pub(crate) fn write_goodbye(ssrcs: impl Iterator<Item = u32>, out: &mut Vec<u8>) -> bool {
    append(&ssrcs.take(31).fold(Bye::builder(), |bye, ssrc| bye.add_source(ssrc)), out)
}

/// What a periodic report is made of.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) ntp: u64,
    /// In whose name things are said that belong to no source.
    pub(crate) sender: u32,
    /// Sources that send, and the name they go by; at most 31.
    pub(crate) sends: Vec<(u32, &'a str, SenderInfo)>,
    /// Sources that are received; of more than 31 the first ones are reported on.
    pub(crate) receives: Vec<(u32, Block)>,
    /// The clients' own times to give back: whose, when (middle bits), how long ago (16.16).
    pub(crate) answers: Vec<(u32, u32, u32)>,
}

impl Report<'_> {
    /// Appends the compound packet: sender reports (the first has the blocks of what is received) or a receiver report,
    /// names, and times for measuring the round trip.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> bool {
        let mut blocks = self.receives.iter().take(MAX_BLOCKS).map(|(ssrc, block)| block_of(*ssrc, block));
        let mut is_written = true;
        if self.sends.is_empty() {
            let report =
                blocks.by_ref().fold(ReceiverReport::builder(self.sender), |r, b| r.add_report_block(b));
            is_written &= append(&report, out);
        }
        for (ssrc, _, info) in &self.sends {
            let report = rtcp_types::SenderReport::builder(*ssrc)
                .ntp_timestamp(self.ntp)
                .rtp_timestamp(info.timestamp)
                .packet_count(info.packets)
                .octet_count(info.octets);
            is_written &= append(&blocks.by_ref().fold(report, |r, b| r.add_report_block(b)), out);
        }
        if !self.sends.is_empty() {
            let chunk = |(ssrc, cname, _): &(u32, &str, SenderInfo)| {
                SdesChunk::builder(*ssrc).add_item_owned(SdesItem::builder(SdesItem::CNAME, cname))
            };
            let names = self.sends.iter().map(chunk).fold(Sdes::builder(), |sdes, c| sdes.add_chunk(c));
            is_written &= append(&names, out);
        }
        let time = ReceiverReferenceTime::builder().ntp_timestamp(self.ntp);
        let mut extended = Xr::builder().sender_ssrc(self.sender).add_block(time);
        if !self.answers.is_empty() {
            let answers = self.answers.iter().map(|(ssrc, time, delay)| {
                DelaySinceLastReceiverReportBlock::builder()
                    .ssrc(*ssrc)
                    .last_receiver_report(*time)
                    .delay_since_last_receiver_report_timestamp(*delay)
            });
            extended = extended.add_block(
                answers.fold(DelaySinceLastReceiverReport::builder(), |all, one| all.add_block(one)),
            );
        }
        is_written && append(&extended, out)
    }
}

fn block_of(ssrc: u32, block: &Block) -> ReportBlockBuilder {
    ReportBlock::builder(ssrc)
        .fraction_lost(block.fraction_lost)
        .cumulative_lost(block.cumulative_lost)
        .extended_sequence_number(block.highest)
        .interarrival_jitter(block.jitter)
        .last_sender_report_timestamp(block.last_report)
        .delay_since_last_sender_report_timestamp(block.delay)
}

/// False, with nothing appended, if the packet is none.
fn append(packet: &impl RtcpPacketWriter, out: &mut Vec<u8>) -> bool {
    let Ok(size) = packet.calculate_size() else { return false };
    let start = out.len();
    out.resize(start + size, 0);
    packet.write_into_unchecked(&mut out[start..]);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(packet: &[u8]) -> Vec<String> {
        let mut all = Vec::new();
        read(packet, |said| all.push(format!("{said:?}")));
        all
    }

    fn shown(said: &[Said<'_>]) -> Vec<String> {
        said.iter().map(|said| format!("{said:?}")).collect()
    }

    #[test]
    fn what_is_asked_for_is_understood() {
        let mut out = vec![];
        assert!(write_nack(1, 2, &[5, 6, 21, 40], &mut out));
        assert_eq!(out.len(), 20, "two entries");
        assert!(write_keyframe_request(1, 3, &mut out));
        let misses = [5, 6, 21, 40].map(|number| Said::Misses { ssrc: 2, number });
        assert_eq!(said(&out), [shown(&misses), shown(&[Said::NeedsKeyframe { ssrc: 3 }])].concat());
        let fir = [0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 7, 0, 0, 0];
        assert_eq!(said(&fir), shown(&[Said::NeedsKeyframe { ssrc: 9 }]));
    }

    #[test]
    fn what_a_receiver_says_of_its_path_is_understood() {
        let mut remb =
            vec![0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0x09, 0, 5, 0, 0, 0, 7];
        assert_eq!(said(&remb), shown(&[Said::Carries { bits_per_second: (1 << 16 | 5) << 2 }]));
        remb[17] = 0xff;
        assert_eq!(
            said(&remb),
            shown(&[Said::Carries { bits_per_second: u64::MAX }]),
            "absurd, and no overflow"
        );
        remb[12] = b'r';
        assert!(said(&remb).is_empty());
        let arrivals = Twcc::builder(7, 1, 2, &[rtcp_types::TwccPacketStatus::Received { delta: 3 }], None);
        let mut out = Vec::new();
        assert!(write_arrivals(1, 2, &arrivals, &mut out));
        let mut numbers = Vec::new();
        read(&out, |said| match said {
            Said::Arrivals(report) => numbers.extend(report.packets().map(|packet| packet.unwrap().0)),
            other => panic!("{other:?}"),
        });
        assert_eq!(numbers, [7]);
    }

    #[test]
    fn a_limit_is_read_as_it_was_written_but_for_its_last_bits() {
        for (bits, read) in
            [(0, 0), (250_000, 250_000), ((1 << 18) - 1, (1 << 18) - 1), ((1 << 40) + 1, 1 << 40)]
        {
            let mut packet = Vec::new();
            assert!(write_limit(1, &[7, 8], bits, &mut packet));
            assert_eq!(said(&packet), shown(&[Said::Carries { bits_per_second: read }]));
            assert_eq!(packet.len(), 28);
        }
    }

    #[test]
    fn a_report_says_all_in_one_packet() {
        let block = Block {
            fraction_lost: 1,
            cumulative_lost: 0xff_ffff,
            highest: 3,
            jitter: 4,
            last_report: 5,
            delay: 6,
        };
        let info = SenderInfo { timestamp: 7, packets: 8, octets: 9 };
        let (ntp, report) = (0x1_2345_6789, SenderReport { ntp: 0x1_2345_6789, timestamp: 7 });
        let mut of = Report {
            ntp,
            sender: 1,
            sends: vec![(10, "name", info), (11, "name", info)],
            receives: vec![(20, block), (21, block)],
            answers: vec![(30, 31, 32), (33, 34, 35)],
        };
        let mut out = Vec::new();
        assert!(of.write(&mut out));
        assert_eq!((out[1], out.len() % 4), (200, 0));
        let expected = [
            Said::Receives { ssrc: 20, lost: 1 },
            Said::Receives { ssrc: 21, lost: 1 },
            Said::Report { ssrc: 10, report },
            Said::Report { ssrc: 11, report },
            Said::Time { ssrc: 1, middle: 0x1_2345 },
            Said::Answer { sent: 31, delay: 32 },
            Said::Answer { sent: 34, delay: 35 },
        ];
        assert_eq!(said(&out), shown(&expected));
        of.sends.clear();
        out.clear();
        assert!(of.write(&mut out));
        assert_eq!((out[1], said(&out).len()), (201, 5));
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        let mut seed = 3_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as u8
        };
        let mut understood = 0;
        for _ in 0..200_000 {
            let mut packet: Vec<u8> = (0..random() % 80).map(|_| random()).collect();
            if let [first, kind, high, low, ..] = &mut packet[..] {
                (*first, *kind, *high) = (*first & 0x3f | 0x80, 200 + *kind % 8, 0);
                *low %= 20;
            }
            read(&packet, |_| understood += 1);
        }
        assert!(understood > 1000);
    }
}
