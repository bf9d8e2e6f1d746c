//! Every situation there is.

use duocast_control_core::policy::{Relation, RequestHistory, Situation};
use duocast_model::{AudienceSet, DirectSetting, PrivacySettings, Strangers};

const STRANGERS: [Strangers; 2] = [Strangers::Request, Strangers::Deny];
const REQUESTS: [RequestHistory; 3] =
    [RequestHistory::None, RequestHistory::Pending, RequestHistory::Declined];
pub(crate) const DIRECT: [DirectSetting; 4] =
    [DirectSetting::Never, DirectSetting::Ask, DirectSetting::Mutuals, DirectSetting::Anyone];

/// Ways to set what no answer may depend on: the caller's audience and strangers, and how either wants its media to go.
pub(crate) const IDLE: usize = 1 << 13;

/// Calls `with` for each of the 6.3 million situations that differ in something an answer may depend on: 64 relations, 64
/// audiences, both kinds of strangers, calling and encryption of either, grant, both blocks, three requests, encryption
/// available. What no answer may depend on takes another of its [`IDLE`] values each time, `with`'s second argument.
pub(crate) fn every(mut with: impl FnMut(Situation, usize)) {
    let mut count = 0_u64;
    for relation in 0..64_u8 {
        for audience in 0..64_u8 {
            for strangers in STRANGERS {
                for request in REQUESTS {
                    for flags in 0..256_u16 {
                        // The high bits of a golden-ratio hash: in step with none of the loops.
                        let idle = (count.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 51) as usize;
                        with(situation(relation, audience, strangers, request, flags, idle), idle);
                        count += 1;
                    }
                }
            }
        }
    }
    assert_eq!(count, 64 * 64 * 2 * 3 * 256);
}

pub(crate) fn relation(bits: u8) -> Relation {
    let on = |bit: u8| bits & (1 << bit) != 0;
    Relation {
        caller_follows: on(0),
        callee_follows: on(1),
        in_address_book: on(2),
        caller_verified: on(3),
        dm_sent: on(4),
        dm_accepted: on(5),
    }
}

fn situation(
    bits: u8,
    audience: u8,
    strangers: Strangers,
    request: RequestHistory,
    flags: u16,
    idle: usize,
) -> Situation {
    let on = |bit: u16| flags & (1 << bit) != 0;
    Situation {
        caller: PrivacySettings {
            calling: on(0),
            require_e2ee: on(1),
            audience: AudienceSet::from_bits((idle % 64) as u8).unwrap(),
            strangers: STRANGERS[idle / 64 % 2],
            enhanced_call_privacy: idle / 128 % 2 == 1,
            direct: DIRECT[idle / 512 % 4],
        },
        callee: PrivacySettings {
            calling: on(2),
            require_e2ee: on(3),
            audience: AudienceSet::from_bits(audience).unwrap(),
            strangers,
            enhanced_call_privacy: idle / 256 % 2 == 1,
            direct: DIRECT[idle / 2048],
        },
        relation: relation(bits),
        grant: on(4),
        blocked_by_callee: on(5),
        blocked_by_caller: on(6),
        request,
        e2ee_available: on(7),
    }
}
