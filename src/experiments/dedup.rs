//! Finds near-duplicates in a set of images as the DCGAN paper does (section 4.1.1): by the binary
//! codes of an autoencoder.
//!
//! ```text
//! images ─center crop, 32×32─▶ autoencoder 3072-128-3072 ─hidden layer > 0─▶ codes of 128 bits
//!          ─equal in 32 bits at some shift─▶ candidates ─pixels agree everywhere─▶ groups
//! ```
//!
//! The paper calls images with equal codes duplicates ([`Rule::Codes`]). This rule misses most of
//! what was moved by a pixel. So the codes only nominate candidates ([`index`]): every image is
//! looked up at the 25 shifts of up to two pixels of 32, in tables that each hold a part of the
//! code, and pixels decide ([`mod@compare`]). Every step takes bounded time per image; only sorting
//! the tables grows with the logarithm of the number of images.

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
/// Bytes of such an image, `[32, 32, 3]`.
pub const NUMBERS: usize = SIDE * SIDE * 3;
/// The largest shift that is tried, in pixels of the small images.
pub const REACH: i32 = 2;
/// Images that are decoded at a time.
const CHUNK: usize = 256;

/// Every shift `[down, right]` of up to [`REACH`] pixels; the zero shift comes first.
#[must_use]
pub fn shifts() -> Vec<[i32; 2]> {
    let all = (-REACH..=REACH).flat_map(|y| (-REACH..=REACH).map(move |x| [y, x]));
    [[0, 0]].into_iter().chain(all.filter(|&shift| shift != [0, 0])).collect()
}

/// When two images are duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// If their codes are equal, bit for bit: the paper's rule.
    Codes,
    /// If their pixels agree, up to a small shift and a change of brightness.
    Pixels,
}

/// Options of the search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// When two images are duplicates.
    pub rule: Rule,
    /// The largest [`Likeness::difference`] of duplicates.
    pub limit: f32,
    /// Training steps of the autoencoder.
    pub steps: usize,
    /// The seed of the autoencoder's initial weights, its noise and the order of its images.
    pub seed: u64,
}

impl Default for Search {
    fn default() -> Self {
        Self { rule: Rule::Pixels, limit: 1.0, steps: 600, seed: 0 }
    }
}

/// The stages of a search, in order.
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
    /// All stages.
    pub const ALL: [Self; 5] = [Self::Read, Self::Train, Self::Encode, Self::Match, Self::Compare];
}

/// The downscaled images of a set.
#[derive(Clone, Debug, Default)]
pub struct Thumbnails {
    /// Their indices in the set.
    pub items: Vec<u32>,
    /// Their bytes, `[items.len(), 32, 32, 3]`.
    pub images: Vec<u8>,
    /// Indices of the unreadable images.
    pub unreadable: Vec<u32>,
    /// The same with the reasons.
    pub skipped: Vec<Skipped>,
}

impl Thumbnails {
    /// Decodes a set and downscales every image: the largest centered square, resized.
    ///
    /// # Errors
    /// Those of [`sweep`].
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

    /// The number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are no images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The bytes of one image, `[32, 32, 3]`.
    #[must_use]
    pub fn image(&self, place: usize) -> &[u8] {
        &self.images[place * NUMBERS..(place + 1) * NUMBERS]
    }
}

/// A pair of duplicates in a set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// The first, by its index in the set.
    pub a: u32,
    /// The second, which comes later in the set.
    pub b: u32,
    /// The number of differing bits of their codes, at the best shift.
    pub bits: u32,
    /// The likeness of their pixels; `None` if the rule does not compare pixels.
    pub likeness: Option<Likeness>,
}

/// A group of duplicates.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The index of the image that is kept: the one with the most pixels, or the first of several.
    pub keep: u32,
    /// The others, in the order of the set.
    pub drop: Vec<u32>,
    /// The largest difference at which a member was joined to the group: a measure of confidence.
    pub difference: f32,
}

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Found {
    /// The groups, in the order of their first members.
    pub groups: Vec<Group>,
    /// The pairs that form them, in the order of the set.
    pub links: Vec<Link>,
    /// Pairs nominated by codes.
    pub candidates: usize,
    /// Indices of the unreadable images in the set.
    pub unreadable: Vec<u32>,
    /// The same with the reasons.
    pub skipped: Vec<Skipped>,
    /// Statistics of the codes' bits.
    pub bits: Bits,
    /// Final mean squared error of the autoencoder, for images of variance 1.
    pub loss: f32,
    /// Seconds that each of [`Stage::ALL`] took.
    pub seconds: [f64; 5],
}

impl Found {
    /// The number of images to remove.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.groups.iter().map(|group| group.drop.len()).sum()
    }

    /// The indices to keep in a set of `len` images, including unreadable ones.
    #[must_use]
    pub fn kept(&self, len: usize) -> Vec<u32> {
        let mut stays = vec![true; len];
        for &item in self.groups.iter().flat_map(|group| &group.drop) {
            stays[item as usize] = false;
        }
        (0..len as u32).filter(|&item| stays[item as usize]).collect()
    }
}

/// Searches a set for near-duplicates. `progress` receives the stage, its total amount of work, and
/// the newly finished amount.
///
/// # Errors
/// [`Error::File`] if fewer than two images can be read, and those of [`sweep`]; [`Error::Memory`]
/// and [`Error::Lost`] if the device is full or fails.
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

/// Measures the time of each stage.
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

/// The candidates whose pixels differ by at most `limit`; `done` receives the pairs compared.
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

/// Groups linked images. The image with the most pixels is kept, or the first of several.
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

/// For every linked image, the difference to the most similar image.
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
