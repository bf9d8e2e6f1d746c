//! The dependency descriptor (AV1 RTP specification, appendix A): which layer a frame is of, and where a viewer may change.

/// Bounds of what is remembered. The format allows for more templates than six bits of a number can tell apart, and no browser
/// has more than three layers each way; a structure beyond is not taken.
const MAX_TEMPLATES: usize = 64;
const MAX_TARGETS: usize = 32;

/// What a frame means for a decode target (appendix A.4): those who view it may begin with it.
const SWITCH: u8 = 2;
const NOT_PRESENT: u8 = 0;

/// The templates of a source's frames, as its last key frame brought them.
#[derive(Debug, PartialEq, Eq)]
pub struct Structure {
    /// The number of the first template.
    offset: u8,
    templates: Vec<Template>,
    /// The spatial and temporal layer of each decode target.
    targets: Vec<(u8, u8)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Template {
    spatial: u8,
    temporal: u8,
    /// Two bits for each decode target, the first one lowest.
    indications: u64,
}

/// What a packet's descriptor says of its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) is_start: bool,
    pub(crate) is_end: bool,
    /// The frame's first packet brings a structure.
    pub(crate) is_key: bool,
    pub(crate) number: u16,
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    /// Its own layer can be entered with it.
    pub(crate) can_enter: bool,
}

/// Reads a descriptor. `None`: it ends before its time, or speaks of a template that is not known. A structure that it brings takes
/// the place of the present one.
pub(crate) fn read(bytes: &[u8], structure: &mut Option<Box<Structure>>) -> Option<Described> {
    let mut bits = Bits { bytes, at: 0 };
    let (is_start, is_end) = (bits.flag()?, bits.flag()?);
    let (template, number) = (bits.take(6)? as u8, bits.take(16)? as u16);
    let (mut is_key, mut has_indications) = (false, false);
    if bytes.len() > 3 {
        let (has_structure, has_active) = (bits.flag()?, bits.flag()?);
        has_indications = bits.flag()?;
        let _has_differences = bits.flag()?;
        let _has_chains = bits.flag()?;
        if has_structure {
            *structure = Some(Box::new(Structure::read(&mut bits)?));
            is_key = is_start;
        }
        if has_active {
            bits.take(structure.as_ref()?.targets.len() as u32)?;
        }
    }
    let structure = structure.as_ref()?;
    let index = usize::from((template + 64 - structure.offset) % 64);
    let Template { spatial, temporal, mut indications } = *structure.templates.get(index)?;
    if has_indications {
        indications = read_indications(&mut bits, structure.targets.len())?;
    }
    let own = structure.targets.iter().position(|target| *target == (spatial, temporal));
    let can_enter = own.is_some_and(|own| indication(indications, own) == SWITCH);
    Some(Described { is_start, is_end, is_key, number, spatial, temporal, can_enter })
}

impl Structure {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let offset = bits.take(6)? as u8;
        let target_count = bits.take(5)? as usize + 1;
        debug_assert!(target_count <= MAX_TARGETS);
        let mut templates = Vec::new();
        let (mut spatial, mut temporal) = (0, 0);
        loop {
            if templates.len() == MAX_TEMPLATES || spatial > 7 || temporal > 7 {
                return None;
            }
            templates.push(Template { spatial, temporal, indications: 0 });
            match bits.take(2)? {
                0 => {}
                1 => temporal += 1,
                2 => (spatial, temporal) = (spatial + 1, 0),
                _ => break,
            }
        }
        for template in &mut templates {
            template.indications = read_indications(bits, target_count)?;
        }
        for _ in &templates {
            while bits.flag()? {
                bits.take(4)?;
            }
        }
        let chains = bits.take_below(target_count as u32 + 1)?;
        if chains > 0 {
            for _ in 0..target_count {
                bits.take_below(chains)?;
            }
            for _ in 0..templates.len() * chains as usize {
                bits.take(4)?;
            }
        }
        if bits.flag()? {
            // Width and height of each spatial layer.
            for _ in 0..=spatial {
                bits.take(32)?;
            }
        }
        let target = |index| {
            let of = templates.iter().filter(|t: &&Template| indication(t.indications, index) != NOT_PRESENT);
            of.fold((0, 0), |(s, t), template| (template.spatial.max(s), template.temporal.max(t)))
        };
        let targets = (0..target_count).map(target).collect();
        Some(Self { offset, templates, targets })
    }
}

fn read_indications(bits: &mut Bits<'_>, targets: usize) -> Option<u64> {
    let mut indications = 0;
    for target in 0..targets {
        indications |= u64::from(bits.take(2)?) << (2 * target);
    }
    Some(indications)
}

fn indication(indications: u64, target: usize) -> u8 {
    (indications >> (2 * target)) as u8 & 3
}

/// Bits from the highest on.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn flag(&mut self) -> Option<bool> {
        let byte = *self.bytes.get(self.at / 8)?;
        let flag = byte >> (7 - self.at % 8) & 1 == 1;
        self.at += 1;
        Some(flag)
    }

    /// At most 32.
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    /// A number below `count`, in as few bits as that takes (AV1 specification, section 4.10.7).
    fn take_below(&mut self, count: u32) -> Option<u32> {
        let width = count.checked_ilog2()? + 1;
        let short = (1 << width) - count;
        let value = self.take(width - 1)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.take(1)?)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes bits, for descriptors of tests.
    #[derive(Default)]
    pub(crate) struct Writer(Vec<bool>);

    impl Writer {
        pub(crate) fn put(&mut self, value: u32, count: u32) -> &mut Self {
            (0..count).rev().for_each(|bit| self.0.push(value >> bit & 1 == 1));
            self
        }

        pub(crate) fn bytes(&self) -> Vec<u8> {
            let byte = |bits: &[bool]| {
                bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at))
            };
            self.0.chunks(8).map(byte).collect()
        }
    }

    /// The key frame of two spatial layers with two temporal ones each: templates 60 to 63 are (0,0), (0,1), (1,0), (1,1), and so
    /// are the decode targets.
    pub(crate) fn two_by_two(number: u16) -> Vec<u8> {
        let mut bits = Writer::default();
        bits.put(0b11, 2).put(60, 6).put(number.into(), 16).put(0b10000, 5);
        bits.put(60, 6).put(3, 5);
        // Layers: next temporal, next spatial, next temporal, no more.
        bits.put(0b01_10_01_11, 8);
        // What each template means for each target.
        bits.put(0b10_10_10_10, 8).put(0b00_10_00_10, 8).put(0b00_00_10_10, 8).put(0b00_00_00_01, 8);
        // One difference for the second template.
        bits.put(0, 1).put(1, 1).put(2, 4).put(0, 1).put(0, 1).put(0, 1);
        // Of up to four chains two, three bits: 2 is below the three short ones.
        bits.put(2, 2).put(0, 1).put(0, 1).put(1, 1).put(1, 1).put(0, 32);
        bits.put(1, 1).put(319, 16).put(179, 16).put(639, 16).put(359, 16);
        bits.bytes()
    }

    pub(crate) fn short(is_start: bool, template: u8, number: u16) -> Vec<u8> {
        let [high, low] = number.to_be_bytes();
        vec![u8::from(is_start) << 7 | template, high, low]
    }

    #[test]
    fn a_key_frame_says_what_later_numbers_mean() {
        let mut structure = None;
        assert_eq!(read(&short(true, 60, 1), &mut structure), None, "no structure yet");
        let key = read(&two_by_two(7), &mut structure).unwrap();
        assert!(key.is_key && key.is_start && key.is_end && key.can_enter);
        assert_eq!((key.spatial, key.temporal, key.number), (0, 0, 7));
        let of = |template| read(&short(false, template, 9), &mut Some(copy(&structure))).unwrap();
        assert_eq!(
            [60, 61, 62, 63].map(|n| (of(n).spatial, of(n).temporal)),
            [(0, 0), (0, 1), (1, 0), (1, 1)]
        );
        assert_eq!([61, 63].map(|n| of(n).can_enter), [true, false], "only discardable for its own target");
        assert!(!of(60).is_key);
        assert_eq!(read(&short(true, 0, 1), &mut structure), None, "a template that there is not");
        assert!(structure.is_some());
    }

    fn copy(structure: &Option<Box<Structure>>) -> Box<Structure> {
        let Structure { offset, templates, targets } = &**structure.as_ref().unwrap();
        Box::new(Structure { offset: *offset, templates: templates.clone(), targets: targets.clone() })
    }

    #[test]
    fn a_frame_may_mean_something_else_than_its_template() {
        let mut structure = None;
        read(&two_by_two(7), &mut structure).unwrap();
        let mut bits = Writer::default();
        bits.put(0b10, 2).put(63, 6).put(8, 16).put(0b00100, 5).put(0b00_00_00_10, 8);
        assert!(read(&bits.bytes(), &mut structure).unwrap().can_enter);
    }

    #[test]
    fn a_number_takes_as_few_bits_as_it_can() {
        // Of five: 0 to 2 in two bits, 3 and 4 in three.
        for (value, bits, count) in [(0, 0b00, 2), (2, 0b10, 2), (3, 0b110, 3), (4, 0b111, 3)] {
            let mut writer = Writer::default();
            let bytes = writer.put(bits, count).bytes();
            assert_eq!(Bits { bytes: &bytes, at: 0 }.take_below(5), Some(value));
        }
        assert_eq!(Bits { bytes: &[], at: 0 }.take_below(1), Some(0));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            first in proptest::collection::vec(any::<u8>(), 0..60),
            more in proptest::collection::vec(any::<u8>(), 0..8),
        ) {
            let mut structure = None;
            for bytes in [&first, &more, &two_by_two(1), &first, &more] {
                read(bytes, &mut structure);
            }
        }
    }
}
