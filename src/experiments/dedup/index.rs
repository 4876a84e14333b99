//! Codes, and candidate pairs of them: locality-sensitive hashing by parts of the code (Indyk and
//! Motwani, STOC 1998).
//!
//! A table for each part of 32 bits holds all codes in order. Two codes that differ in three bits
//! of 128 or fewer always agree in one of four parts. Every image is looked up at all shifts, since
//! an image moved by a pixel has another code (a twelfth of its bits differ), but moved back has
//! nearly its own. The work for one image is bounded: 32 neighbors on either side in the order of a
//! table, 12 from all tables together.

use rayon::prelude::*;

/// Bits of a code.
pub const BITS: usize = 128;
/// Bits of a part.
const PART: usize = 32;
/// Ways of assigning the bits to four parts.
const DEALS: usize = 2;
/// Neighbors on either side that are considered in a table.
const NEAR: usize = 32;
/// Candidates per image.
const BEST: usize = 12;
/// The maximum number of differing bits of candidates.
const MOST: u32 = 12;
/// Codes that are looked up between two progress reports.
const CHUNK: usize = 1 << 12;

/// The codes of images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codes {
    /// Shifts `[down, right]` of the codes of one image; the first is zero.
    pub shifts: Vec<[i32; 2]>,
    /// `[n, shifts.len()]`; bit i is set if hidden unit i is above zero.
    pub codes: Vec<u128>,
}

/// Statistics of the codes' bits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bits {
    /// How often each bit is set.
    pub set: Vec<f32>,
    /// How often each bit changes when an image moves by one pixel; empty if images were encoded at
    /// one shift only.
    pub flips: Vec<f32>,
}

impl Bits {
    /// The entropy of each bit, assuming independence: 1 if it is set half of the time.
    #[must_use]
    pub fn information(&self) -> Vec<f32> {
        let part = |p: f32| if p > 0.0 { -p * p.log2() } else { 0.0 };
        self.set.iter().map(|&p| part(p) + part(1.0 - p)).collect()
    }

    /// The bits of each part: dealt in turn from the most informative to the least, so that no part
    /// gets more of the uninformative ones; further deals use other orders.
    #[must_use]
    pub fn parts(&self) -> Vec<Vec<usize>> {
        let information = self.information();
        let mut order: Vec<usize> = (0..information.len()).collect();
        order.sort_by(|&a, &b| information[b].total_cmp(&information[a]).then(a.cmp(&b)));
        let hands = BITS / PART;
        let mut parts = vec![Vec::new(); hands * DEALS];
        for (rank, &bit) in order.iter().enumerate() {
            for deal in 0..DEALS {
                // Rows of four, each rotated by its index: bits that share a part in one deal are
                // spread over all parts in the next.
                let hand = (rank + deal * (rank / hands)) % hands;
                parts[deal * hands + hand].push(bit);
            }
        }
        parts
    }
}

/// A pair of images that may be duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Their indices, the smaller one first.
    pub places: [u32; 2],
    /// The number of differing bits of their codes.
    pub bits: u32,
    /// The second at (y, x) may show what the first does at (y + `shift[0]`, x + `shift[1]`).
    pub shift: [i32; 2],
}

impl Candidate {
    fn new(of: u32, other: u32, bits: u32, shift: [i32; 2]) -> Self {
        // `of`, moved by the shift, looks like the other.
        if of < other {
            Self { places: [of, other], bits, shift }
        } else {
            Self { places: [other, of], bits, shift: shift.map(|s| -s) }
        }
    }
}

/// All codes, sorted by a part and then by the whole code.
struct Table {
    part: Vec<usize>,
    rows: Vec<Row>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    key: u32,
    code: u128,
    place: u32,
}

/// The bits of a part as one number.
fn key(code: u128, part: &[usize]) -> u32 {
    part.iter().fold(0, |key, &bit| key << 1 | (code >> bit & 1) as u32)
}

impl Codes {
    /// The number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.codes.len() / self.shifts.len().max(1)
    }

    /// Whether there are no images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// The codes of all images as stored.
    fn plain(&self) -> impl Iterator<Item = u128> + '_ {
        self.codes.iter().step_by(self.shifts.len().max(1)).copied()
    }

    /// Statistics of the bits.
    #[must_use]
    pub fn bits(&self) -> Bits {
        let n = self.len().max(1) as f32;
        let count = |bit: usize, of: &dyn Fn(&[u128]) -> u128| {
            let rows = self.codes.chunks(self.shifts.len().max(1));
            rows.filter(|row| of(row) >> bit & 1 == 1).count() as f32 / n
        };
        let set = (0..BITS).into_par_iter().map(|bit| count(bit, &|row| row[0])).collect();
        let one = |shift: &[i32; 2]| shift[0].abs() + shift[1].abs() == 1;
        let ones: Vec<usize> = (0..self.shifts.len()).filter(|&s| one(&self.shifts[s])).collect();
        if ones.is_empty() {
            return Bits { set, flips: Vec::new() };
        }
        let flips = |bit: usize| {
            let at = |&s: &usize| count(bit, &|row| row[0] ^ row[s]);
            ones.iter().map(at).sum::<f32>() / ones.len() as f32
        };
        Bits { set, flips: (0..BITS).into_par_iter().map(flips).collect() }
    }

    /// Pairs of equal codes, each code's first image with all others: the paper's rule.
    #[must_use]
    pub fn equal(&self) -> Vec<Candidate> {
        let mut order: Vec<(u128, u32)> = self.plain().zip(0..).collect();
        order.par_sort_unstable();
        let same = order.chunk_by(|a, b| a.0 == b.0);
        let mut pairs: Vec<Candidate> = same
            .flat_map(|same| same[1..].iter().map(|b| Candidate::new(same[0].1, b.1, 0, [0, 0])))
            .collect();
        pairs.sort_unstable();
        pairs
    }

    /// Pairs whose codes are similar at some shift, in order; `done` receives the number of images
    /// looked up.
    #[must_use]
    pub fn candidates(&self, bits: &Bits, mut done: impl FnMut(usize)) -> Vec<Candidate> {
        let table = |part: Vec<usize>| {
            let row = |(code, place)| Row { key: key(code, &part), code, place };
            let mut rows: Vec<Row> = self.plain().zip(0..).map(row).collect();
            rows.sort_unstable();
            Table { part, rows }
        };
        let tables: Vec<Table> = bits.parts().into_par_iter().map(table).collect();
        let mut found = Vec::new();
        let places: Vec<u32> = (0..self.len() as u32).collect();
        for places in places.chunks(CHUNK) {
            found.par_extend(places.par_iter().flat_map_iter(|&place| self.of(place, &tables)));
            done(places.len());
        }
        // A pair may be found from both sides: the better one is kept.
        found.par_sort_unstable();
        found.dedup_by_key(|pair| pair.places);
        found
    }

    /// The candidates of one image.
    fn of(&self, place: u32, tables: &[Table]) -> Vec<Candidate> {
        let count = self.shifts.len();
        let codes = &self.codes[place as usize * count..][..count];
        // For every other image: bits and shift where it is nearest.
        let mut best: Vec<(u32, u32, usize)> = Vec::new();
        for table in tables {
            for (s, &code) in codes.iter().enumerate() {
                let wanted = key(code, &table.part);
                let at = table.rows.partition_point(|row| (row.key, row.code) < (wanted, code));
                let (before, after) = table.rows.split_at(at);
                let near = before.iter().rev().take(NEAR).take_while(|row| row.key == wanted);
                // One more, for the image itself.
                let next = after.iter().take(NEAR + 1).take_while(|row| row.key == wanted);
                for row in near.chain(next).filter(|row| row.place != place) {
                    let bits = (row.code ^ code).count_ones();
                    if bits > MOST {
                        continue;
                    }
                    match best.iter_mut().find(|(_, other, _)| *other == row.place) {
                        Some(known) if (bits, s) < (known.0, known.2) => {
                            *known = (bits, row.place, s);
                        }
                        Some(_) => {}
                        None => best.push((bits, row.place, s)),
                    }
                }
            }
        }
        // Of equally near ones those next to it in the set, so that any number of copies stay
        // connected.
        best.sort_unstable_by_key(|&(bits, other, _)| (bits, other.abs_diff(place), other));
        best.truncate(BEST);
        let candidate = |&(bits, other, s): &(u32, u32, usize)| {
            Candidate::new(place, other, bits, self.shifts[s])
        };
        best.iter().map(candidate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::groups::components;
    use super::super::shifts;
    use super::*;
    use crate::rng::Stream;

    fn random(n: usize, seed: u64) -> Vec<u128> {
        let stream = Stream::new(seed, "codes", 0);
        let code = |i| stream.block(i).iter().fold(0, |code, &w| code << 32 | u128::from(w));
        (0..n as u64).map(code).collect()
    }

    fn codes(plain: Vec<u128>) -> Codes {
        Codes { shifts: vec![[0, 0]], codes: plain }
    }

    fn pairs(found: &[Candidate]) -> Vec<[u32; 2]> {
        found.iter().map(|pair| pair.places).collect()
    }

    #[test]
    fn every_bit_is_in_one_part_of_each_deal_and_parts_tell_alike() {
        // The lower half is constant.
        let set = (0..BITS).map(|bit| if bit < 64 { 0.0 } else { 0.5 }).collect();
        let parts = Bits { set, flips: Vec::new() }.parts();
        assert_eq!(parts.len(), 8);
        for deal in parts.chunks(4) {
            let mut all = deal.concat();
            all.sort_unstable();
            assert_eq!(all, (0..BITS).collect::<Vec<_>>());
        }
        for part in &parts {
            let telling = part.iter().filter(|&&bit| bit >= 64).count();
            assert_eq!((part.len(), telling), (32, 16));
        }
        assert_ne!(parts[..4], parts[4..]);
    }

    #[test]
    fn codes_of_three_other_bits_are_always_found_and_others_are_not() {
        let mut plain = random(3000, 1);
        let mut bits = Stream::new(2, "bits", 0);
        for i in 0..1000 {
            let mut code = plain[i];
            for _ in 0..3 {
                code ^= 1 << bits.below(128);
            }
            plain.push(code);
        }
        let codes = codes(plain);
        let mut looked = 0;
        let found = codes.candidates(&codes.bits(), |n| looked += n);
        assert_eq!(looked, 4000);
        let wanted: Vec<[u32; 2]> = (0..1000).map(|i| [i, 3000 + i]).collect();
        assert_eq!(pairs(&found), wanted);
        assert!(found.iter().all(|pair| pair.bits <= 3 && pair.shift == [0, 0]));
    }

    #[test]
    fn the_shift_is_that_from_the_first_to_the_second() {
        // Image 1 looks like image 0 shifted by (1, -2), and vice versa.
        let shifts = shifts();
        let mut all = random(2 * shifts.len(), 3);
        let known = shifts.clone();
        let place = |shift| known.iter().position(|s| *s == shift).unwrap_or(usize::MAX);
        all[place([1, -2])] = all[shifts.len()];
        all[shifts.len() + place([-1, 2])] = all[0] ^ 1;
        let codes = Codes { shifts, codes: all };
        let found = codes.candidates(&codes.bits(), |_| ());
        assert_eq!(found, [Candidate { places: [0, 1], bits: 0, shift: [1, -2] }]);
        // Found from the second one alone, it is reversed.
        let mut all = random(2 * codes.shifts.len(), 4);
        all[codes.shifts.len() + place([2, 0])] = all[0];
        let codes = Codes { codes: all, ..codes };
        let found = codes.candidates(&codes.bits(), |_| ());
        assert_eq!(found, [Candidate { places: [0, 1], bits: 0, shift: [-2, 0] }]);
    }

    #[test]
    fn equal_codes_are_paired_with_the_first() {
        let mut plain = random(6, 4);
        plain[4] = plain[1];
        plain[5] = plain[1];
        plain[3] = plain[0] ^ 1;
        assert_eq!(pairs(&codes(plain).equal()), [[1, 4], [1, 5]]);
    }

    #[test]
    fn a_thousand_copies_are_one_group_and_take_few_looks() {
        let mut plain = random(200, 5);
        plain.extend(vec![plain[7]; 1000]);
        let codes = codes(plain);
        let found = codes.candidates(&codes.bits(), |_| ());
        assert!(found.len() <= 1001 * BEST, "{}", found.len());
        let groups = components(&pairs(&found));
        assert_eq!((groups.len(), groups[0].len()), (1, 1001));
    }

    #[test]
    fn bits_are_measured() {
        let row = |plain: u128, right: u128| [plain, right, plain];
        let all = [row(0b11, 0b10), row(0b10, 0b10), row(0b10, 0b00), row(0b11, 0b11)].concat();
        let bits = Codes { shifts: vec![[0, 0], [0, 1], [1, 1]], codes: all }.bits();
        assert_eq!(bits.set[..3], [0.5, 1.0, 0.0]);
        assert_eq!(bits.flips[..3], [0.25, 0.25, 0.0]);
        assert_eq!(bits.information()[..3], [1.0, 0.0, 0.0]);
    }
}
