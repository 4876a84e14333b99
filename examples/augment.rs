//! Shows augmentations: the bundled images, or those of a folder, and below them the
//! discriminator's inputs.
//!
//! `cargo run --release --example augment [FOLDER]`

use std::path::Path;
use std::sync::Arc;

use dcgan::augment::Augment;
use dcgan::data::{Loader, LoaderOptions, Prepare, Source};
use dcgan::device::{Device, State};
use dcgan::error::Result;
use dcgan::images::figure::{Cell, Figure, Panel};
use dcgan::program::{Options, Program};
use dcgan::tape::Tape;
use dcgan::tensor::{DType, Data, Tensor};

const SHAPE: [usize; 4] = [8, 64, 64, 3];

/// A list of augmentations, and the probability of each; always if `None`.
const ROWS: [(&str, Option<f32>); 8] = [
    ("none", None),
    ("brightness", None),
    ("saturation", None),
    ("contrast", None),
    ("translation", None),
    ("cutout", None),
    ("color,translation,cutout", None),
    ("color,translation,cutout", Some(0.2)),
];

fn main() -> Result<()> {
    let folder = std::env::args().nth(1);
    let source = Arc::new(Source::open(folder.as_deref().map(Path::new))?);
    let [n, height, width, channels] = SHAPE;
    let prepare = Prepare { height, width, channels, ..Prepare::default() };
    let mut loader =
        Loader::start(source, prepare, &LoaderOptions { batch: n, ..Default::default() }, 0)?;
    let images = Tensor::with_data(SHAPE, Data::U8(loader.next_batch()?.images))?;

    let mut t = Tape::new();
    let bytes = t.feed("images", &SHAPE, DType::U8)?;
    let key = t.feed("key", &[4], DType::U32)?;
    let x = t.from_u8(bytes)?;
    for (i, (list, p)) in ROWS.into_iter().enumerate() {
        let augment: Augment = list.parse().expect("the list is one that can be typed");
        let p = p.map(|p| t.fill(&[], p)).transpose()?;
        let y = augment.record(&mut t, x, p, &mut |t, name, shape| {
            t.random_uniform(key, &format!("{name}.{i}"), shape)
        })?;
        t.fetch(&i.to_string(), y)?;
    }

    let mut state = State::new(&Device::open(None, false)?);
    let mut program = Program::compile(&t, &state, &Options::default())?;
    let key = Tensor::with_data([4], Data::U32(vec![0; 4]))?;
    let shown = program.call(&mut state, &[("images", &images), ("key", &key)])?;
    let mut panel = Panel::new("");
    for (i, (list, p)) in ROWS.into_iter().enumerate() {
        let label = p.map_or(list.into(), |p| format!("{list}\neach with probability {p}"));
        panel = panel.row(label, Cell::all(shown[&i.to_string()].f32s(), SHAPE)?);
    }
    Figure::new("What the discriminator is shown").panel(panel).save(Path::new("augment.png"))?;
    println!("{} rows of {n} images in augment.png", ROWS.len());
    Ok(())
}
