//! Near-duplicates in a set of images, found as the DCGAN paper does (section 4.1.1): by the
//! binary codes of an autoencoder.
//!
//! ```text
//! images ─center crop, 32×32─▶ autoencoder 3072-128-3072 ─hidden layer > 0─▶ codes of 128 bits
//!          ─equal in 32 bits at some shift─▶ candidates ─pixels agree everywhere─▶ groups
//! ```
//!
//! The paper calls images duplicates whose codes are equal ([`Rule::Codes`]). Such a rule misses
//! most of what was moved by a pixel. So the codes only nominate ([`index`]): every image is
//! looked up at the 25 shifts of up to two pixels of 32, in tables that hold a part of the code each,
//! and pixels decide ([`mod@compare`]). Every step takes a bounded time for each image, however many
//! there are; only the sorting of the tables grows by the logarithm of their number.

use std::collections::HashMap;
use std::time::Instant;

use rayon::prelude::*;

use crate::data::{Crop, Filter, Image, Prepare, Skipped, Source, sweep};
use crate::device::Device;
use crate::error::{Error, Result};

pub mod autoencoder;
pub mod compare;
pub mod groups;
pub mod index;

use autoencoder::Autoencoder;
use compare::{Likeness, compare};
use groups::components;
use index::{Bits, Candidate};

/// Rows and columns of the images that are compared.
pub const SIDE: usize = 32;
/// Bytes of one of them, `[32, 32, 3]`.
pub const NUMBERS: usize = SIDE * SIDE * 3;
/// Shifts that are tried reach this far, in pixels of the small images.
pub const REACH: i32 = 2;
/// Images that are decoded at a time.
const CHUNK: usize = 256;

/// Every shift `[down, right]` of up to [`REACH`] pixels; none comes first.
#[must_use]
pub fn shifts() -> Vec<[i32; 2]> {
    let all = (-REACH..=REACH).flat_map(|y| (-REACH..=REACH).map(move |x| [y, x]));
    [[0, 0]].into_iter().chain(all.filter(|&shift| shift != [0, 0])).collect()
}

/// When two images are duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Where their codes are equal, bit for bit: the paper's rule.
    Codes,
    /// Where their pixels agree, up to a small shift and another brightness.
    Pixels,
}

/// How duplicates are searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// When two images are duplicates.
    pub rule: Rule,
    /// The largest [`Likeness::difference`] of duplicates.
    pub limit: f32,
    /// Training steps of the autoencoder.
    pub steps: usize,
    /// Decides the autoencoder's first weights, its noise and the order of its images.
    pub seed: u64,
}

impl Default for Search {
    fn default() -> Self {
        Self { rule: Rule::Pixels, limit: 1.0, steps: 600, seed: 0 }
    }
}

/// The parts of a search, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Images are decoded.
    Read,
    /// The autoencoder is trained; counted in steps.
    Train,
    /// Images become codes.
    Encode,
    /// Codes are looked up.
    Match,
    /// Pairs are compared pixel by pixel; counted in pairs.
    Compare,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Read, Self::Train, Self::Encode, Self::Match, Self::Compare];
}

/// The images of a set, small.
#[derive(Clone, Debug, Default)]
pub struct Thumbnails {
    /// Which of the set they are.
    pub items: Vec<u32>,
    /// Their bytes, `[items.len(), 32, 32, 3]`.
    pub images: Vec<u8>,
    /// Which of the set cannot be read.
    pub unreadable: Vec<u32>,
    /// The same with the reasons.
    pub skipped: Vec<Skipped>,
}

impl Thumbnails {
    /// Decodes a set and makes every image small: the largest centered square, resized.
    ///
    /// # Errors
    /// As [`sweep`].
    pub fn read(source: &Source, mut done: impl FnMut(usize)) -> Result<Self> {
        let prepare = Prepare {
            height: SIDE,
            width: SIDE,
            channels: 3,
            crop: Crop::Center,
            filter: Filter::Bicubic,
            flip: false,
        };
        let all: Vec<u32> = (0..source.len() as u32).collect();
        let mut read = Self::default();
        read.skipped = sweep(source, &prepare, &all, CHUNK, |chunk| {
            let mut next = 0;
            for &place in &chunk.places {
                read.unreadable.extend((next..place).map(|p| (chunk.start + p) as u32));
                read.items.push((chunk.start + place) as u32);
                next = place + 1;
            }
            read.unreadable.extend((next..chunk.len).map(|p| (chunk.start + p) as u32));
            read.images.extend_from_slice(&chunk.images);
            done(chunk.len);
            Ok(())
        })?;
        Ok(read)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The bytes of one, `[32, 32, 3]`.
    #[must_use]
    pub fn image(&self, place: usize) -> &[u8] {
        &self.images[place * NUMBERS..(place + 1) * NUMBERS]
    }
}

/// Two images of a set that are duplicates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// The first, by its index in the set.
    pub a: u32,
    /// The second, which comes later in the set.
    pub b: u32,
    /// Bits in which their codes differ, at the shift at which they differ least.
    pub bits: u32,
    /// How alike their pixels are; nothing where the rule did not look.
    pub likeness: Option<Likeness>,
}

/// Duplicates of one another.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The one that stays, by its index in the set: that of the most pixels, of several the first.
    pub keep: u32,
    /// The others, in the order of the set.
    pub drop: Vec<u32>,
    /// The largest difference at which a member was joined to the group: how sure it is.
    pub difference: f32,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The groups, in the order of their first members.
    pub groups: Vec<Group>,
    /// The pairs that make them, in the order of the set.
    pub links: Vec<Link>,
    /// Pairs that codes nominated.
    pub candidates: usize,
    /// Images that could not be read, by their index in the set.
    pub unreadable: Vec<u32>,
    /// The same with the reasons.
    pub skipped: Vec<Skipped>,
    /// What the bits of the codes are like.
    pub bits: Bits,
    /// Mean squared error of the autoencoder at the end, of images of variance 1.
    pub loss: f32,
    /// Seconds that each of [`Stage::ALL`] took.
    pub seconds: [f64; 5],
}

impl Found {
    /// How many images would go.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.groups.iter().map(|group| group.drop.len()).sum()
    }

    /// The indices that stay of a set of `len` images, unreadable ones included.
    #[must_use]
    pub fn kept(&self, len: usize) -> Vec<u32> {
        let mut stays = vec![true; len];
        for &item in self.groups.iter().flat_map(|group| &group.drop) {
            stays[item as usize] = false;
        }
        (0..len as u32).filter(|&item| stays[item as usize]).collect()
    }
}

/// Searches a set for near-duplicates. `progress` hears the stage, what is to be done in it, and how
/// much more of it is done.
///
/// # Errors
/// [`Error::File`] where fewer than two images can be read, and as [`sweep`]; [`Error::Memory`]
/// and [`Error::Lost`] where the device is full or fails.
pub fn find(
    source: &Source,
    device: &Device,
    search: &Search,
    progress: &mut dyn FnMut(Stage, usize, usize),
) -> Result<Found> {
    let mut clock = Clock { start: Instant::now(), seconds: [0.0; 5] };
    let total = source.len();
    let small = Thumbnails::read(source, |n| progress(Stage::Read, total, n))?;
    if small.len() < 2 {
        let what = match total {
            1 => "holds one image; duplicates take two or more".to_owned(),
            _ => format!(
                "holds {total} images of which {} can be read; duplicates take two",
                small.len()
            ),
        };
        return Err(Error::file(source.origin(), what));
    }
    clock.lap(Stage::Read);
    let autoencoder =
        Autoencoder::train(device, &small, search, |n| progress(Stage::Train, search.steps, n))?;
    clock.lap(Stage::Train);
    let shifts = if search.rule == Rule::Codes { vec![[0, 0]] } else { shifts() };
    let codes = autoencoder.encode(&small, &shifts, |n| progress(Stage::Encode, small.len(), n))?;
    let loss = autoencoder.loss();
    drop(autoencoder);
    clock.lap(Stage::Encode);
    let bits = codes.bits();
    let candidates = match search.rule {
        Rule::Codes => codes.equal(),
        Rule::Pixels => codes.candidates(&bits, |n| progress(Stage::Match, small.len(), n)),
    };
    clock.lap(Stage::Match);
    let links = match search.rule {
        Rule::Codes => candidates.iter().map(|pair| link(&small, pair, None)).collect(),
        Rule::Pixels => verify(&small, &candidates, search.limit, |n| {
            progress(Stage::Compare, candidates.len(), n);
        }),
    };
    clock.lap(Stage::Compare);
    Ok(Found {
        groups: groups(source, &links),
        links,
        candidates: candidates.len(),
        unreadable: small.unreadable,
        skipped: small.skipped,
        bits,
        loss,
        seconds: clock.seconds,
    })
}

/// Where time goes.
struct Clock {
    start: Instant,
    seconds: [f64; 5],
}

impl Clock {
    fn lap(&mut self, stage: Stage) {
        self.seconds[stage as usize] = self.start.elapsed().as_secs_f64();
        self.start = Instant::now();
    }
}

fn link(small: &Thumbnails, pair: &Candidate, likeness: Option<Likeness>) -> Link {
    let [a, b] = pair.places.map(|place| small.items[place as usize]);
    Link { a, b, bits: pair.bits, likeness }
}

/// The candidates whose pixels differ by no more than `limit`; `done` hears how many were compared.
pub fn verify(
    small: &Thumbnails,
    candidates: &[Candidate],
    limit: f32,
    mut done: impl FnMut(usize),
) -> Vec<Link> {
    let mut links = Vec::new();
    for candidates in candidates.chunks(1 << 14) {
        let look = |pair: &Candidate| {
            let [a, b] = pair.places.map(|place| small.image(place as usize));
            let likeness = compare(a, b, pair.shift).filter(|like| like.difference <= limit)?;
            Some(link(small, pair, Some(likeness)))
        };
        links.par_extend(candidates.par_iter().filter_map(look));
        done(candidates.len());
    }
    links
}

/// Joins what is linked. The image of the most pixels stays, of several the first.
fn groups(source: &Source, links: &[Link]) -> Vec<Group> {
    let pairs: Vec<[u32; 2]> = links.iter().map(|link| [link.a, link.b]).collect();
    let best = closest(links);
    let group = |members: Vec<u32>| {
        let pixels = |item: u32| {
            let size = |p: Image| u64::from(p.pixels.width()) * u64::from(p.pixels.height());
            source.with_image(item as usize, size).unwrap_or(0)
        };
        let sizes: Vec<u64> = members.iter().map(|&item| pixels(item)).collect();
        let most = sizes.iter().copied().max().unwrap_or(0);
        let at = sizes.iter().position(|&size| size == most).unwrap_or(0);
        let difference = members.iter().filter_map(|m| best.get(m)).copied().fold(0.0, f32::max);
        let keep = members[at];
        let drop = members.into_iter().filter(|&item| item != keep).collect();
        Group { keep, drop, difference }
    };
    components(&pairs).into_par_iter().map(group).collect()
}

/// Of every image that is linked, the difference to the image that is most like it.
fn closest(links: &[Link]) -> HashMap<u32, f32> {
    let mut closest = HashMap::new();
    for link in links {
        let difference = link.likeness.map_or(0.0, |likeness| likeness.difference);
        for item in [link.a, link.b] {
            let least = closest.entry(item).or_insert(difference);
            *least = difference.min(*least);
        }
    }
    closest
}
