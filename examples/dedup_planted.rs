//! Measures how well near-duplicates are found:
//! `cargo run --release --example dedup_planted -- DATA [IMAGES [PLANTED [DEVICE]]]`
//!
//! Takes that many images of a set (20,000, or all), plants modified copies of some of them (1,000)
//! and searches, by pixels and by the paper's rule of equal codes. The copies are, in turn:
//! re-encoded as JPEG of quality 60 to 90; shifted by one pixel; by two; brightened or darkened;
//! and all of it at once. Prints which share of each was found, and how many pairs of *different*
//! images of the set were joined. These need not be mistakes, since sets have duplicates of their
//! own: `dedup-own.png` shows them, the most doubtful first, for a person to judge.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use dcgan::data::{Order, Source};
use dcgan::device::Device;
use dcgan::experiments::dedup::{Found, Rule, Search, Stage, find};
use dcgan::images::figure::{Cell, Figure, Panel};
use dcgan::rng::Stream;
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The modifications of the copies, in turn.
const KINDS: [&str; 5] = ["JPEG", "shifted by 1", "shifted by 2", "brightness", "all of it"];
/// The JPEG quality of copies whose modification is not JPEG.
const GOOD: u8 = 92;
/// Rows and columns of drawn pairs of images.
const DRAWN: [usize; 2] = [16, 8];

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let data = args.next().map(PathBuf::from).ok_or("DATA is missing")?;
    let images = args.next().map_or(Ok(20_000), |n| n.parse())?;
    let planted = args.next().map_or(Ok(1000), |n| n.parse())?;
    let device = Device::open(args.next().as_deref(), false)?;

    let source = Source::open(Some(&data))?;
    let folder = std::env::temp_dir().join(format!("dedup-planted-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let done = plant(&source, images, planted, &folder).and_then(|n| {
        println!("{n} images of {}, {planted} copies", data.display());
        let set = Source::open(Some(&folder))?;
        for rule in [Rule::Pixels, Rule::Codes] {
            let search = Search { rule, ..Search::default() };
            let found = find(&set, &device, &search, &mut |_, _, _| ())?;
            tell(&set, &found, rule, planted)?;
        }
        Ok(())
    });
    fs::remove_dir_all(&folder)?;
    done
}

/// Writes images of the set as `a/<number>.png` and modified copies of the first of them as
/// `b/<number>-<kind>.jpg`; returns the number of images.
fn plant(source: &Source, images: usize, planted: usize, folder: &Path) -> Outcome<usize> {
    for part in ["a", "b"] {
        fs::create_dir(folder.join(part))?;
    }
    let order = Order { seed: 1, count: source.len(), batch: 1 }.shuffled(0);
    let mut written = 0;
    for item in order {
        if written == images.saturating_sub(planted) {
            break;
        }
        let Ok(image) = source.image(item as usize) else { continue };
        let image = image.pixels.into_rgb8();
        image.save(folder.join(format!("a/{written:06}.png")))?;
        if written < planted {
            let kind = written % KINDS.len();
            let (copy, quality) = changed(&image, kind, written as u32);
            let file = fs::File::create(folder.join(format!("b/{written:06}-{kind}.jpg")))?;
            JpegEncoder::new_with_quality(file, quality).encode_image(&copy)?;
        }
        written += 1;
    }
    Ok(written)
}

/// A modified copy, and the quality to store it at.
fn changed(image: &RgbImage, kind: usize, number: u32) -> (RgbImage, u8) {
    let mut draw = Stream::new(7, "planted", number);
    let quality = 60 + draw.below(31) as u8;
    let by = match kind {
        1 | 4 => 1,
        2 => 2,
        _ => 0,
    };
    // At least one of the two is the full shift.
    let whole = if draw.below(2) == 0 { -by } else { by };
    let other = draw.below(2 * by as u32 + 1) as i32 - by;
    let [dy, dx] = if draw.below(2) == 0 { [whole, other] } else { [other, whole] };
    let mut within = |low: f32, high: f32| low + (high - low) * draw.below(1000) as f32 / 999.0;
    let (gain, offset) = match kind {
        3 | 4 => (within(0.85, 1.2), within(-15.0, 25.0)),
        _ => (1.0, 0.0),
    };
    let (width, height) = image.dimensions();
    let copy = RgbImage::from_fn(width, height, |x, y| {
        let at = |v: u32, d: i32, size: u32| (v as i32 + d).clamp(0, size as i32 - 1) as u32;
        let Rgb(rgb) = *image.get_pixel(at(x, dx, width), at(y, dy, height));
        Rgb(rgb.map(|v| (f32::from(v) * gain + offset).round().clamp(0.0, 255.0) as u8))
    });
    (copy, if matches!(kind, 0 | 4) { quality } else { GOOD })
}

/// The number of the image that an item shows, and its kind if it is a copy.
fn origin(set: &Source, item: u32) -> Outcome<(u32, Option<usize>)> {
    let name = set.item_name(item as usize);
    let number = name[2..8].parse()?;
    Ok((number, if name.starts_with('b') { Some(name[9..10].parse()?) } else { None }))
}

fn tell(set: &Source, found: &Found, rule: Rule, planted: usize) -> Outcome<()> {
    // Copies in the same group as their originals.
    let mut hits = [0; KINDS.len()];
    for group in &found.groups {
        let members: Vec<u32> = group.drop.iter().copied().chain([group.keep]).collect();
        let mut originals = HashSet::new();
        for &member in &members {
            let (number, kind) = origin(set, member)?;
            if kind.is_none() {
                originals.insert(number);
            }
        }
        for &member in &members {
            if let (number, Some(kind)) = origin(set, member)?
                && originals.contains(&number)
            {
                hits[kind] += 1;
            }
        }
    }
    // Pairs of different images, each counted once, whichever copies were joined.
    let (mut right, mut own) = (0, BTreeSet::new());
    let mut drawn = Vec::new();
    for link in &found.links {
        let (a, b) = (origin(set, link.a)?.0, origin(set, link.b)?.0);
        if a == b {
            right += 1;
        } else if own.insert([a.min(b), a.max(b)]) {
            drawn.push(link);
        }
    }
    println!("\n{}", if rule == Rule::Pixels { "by pixels" } else { "by equal codes" });
    for (kind, (name, hits)) in KINDS.iter().zip(hits).enumerate() {
        let all = (planted + KINDS.len() - 1 - kind) / KINDS.len();
        println!("  {name:<14}{hits} of {all} found");
    }
    let all: usize = hits.iter().sum();
    println!("  recall        {:.4}", all as f64 / planted as f64);
    println!("  joined        {right} pairs with a copy, {} of different images", own.len());
    let precision = right as f64 / (right + own.len()).max(1) as f64;
    println!("  precision     {precision:.4} if all of the latter were mistakes");
    let seconds: f64 = found.seconds.iter().sum();
    let parts: Vec<String> =
        Stage::ALL.iter().zip(found.seconds).map(|(s, t)| format!("{s:?} {t:.1}")).collect();
    println!("  time          {seconds:.1} s ({})", parts.join(", "));
    println!("                {:.3} ms an image", 1e3 * seconds / set.len() as f64);
    println!("  candidates    {}", found.candidates);

    drawn.sort_by(|a, b| {
        let difference = |link: &dcgan::experiments::dedup::Link| {
            link.likeness.map_or(0.0, |likeness| likeness.difference)
        };
        difference(b).total_cmp(&difference(a))
    });
    let mut figure = Figure::new("Different images of the set that were joined")
        .enlarge_to(64)
        .note("The most doubtful first, with their differences");
    for column in drawn.chunks(DRAWN[0]).take(DRAWN[1]) {
        let mut panel = Panel::new("");
        for link in column {
            let cell = |item: u32| Ok(Cell::new(set.image(item as usize)?.pixels));
            let difference =
                link.likeness.map_or(String::new(), |l| format!("{:.2}", l.difference));
            let cells: Outcome<Vec<Cell>> = [link.a, link.b].into_iter().map(cell).collect();
            panel = panel.row(difference, cells?);
        }
        figure = figure.beside(panel);
    }
    let name = if rule == Rule::Pixels { "dedup-own.png" } else { "dedup-own-codes.png" };
    figure.save(Path::new(name))?;
    Ok(())
}
