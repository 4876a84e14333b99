//! `dcgan filters`: what the filters of a discriminator look for.

use std::path::PathBuf;

use clap::Args;
use image::DynamicImage;

use crate::data::{Prepare, Source};
use crate::device::State;
use crate::error::{Error, Result};
use crate::experiments::classify::untrained;
use crate::experiments::filters::{Observer, Wanted, observe};
use crate::features::{By, Extractor, FeatureLayer, feature_layers};
use crate::human::plural;
use crate::images::figure::{Cell, Figure, Panel};
use crate::images::outline::{cut, outlined};
use crate::images::{single, values};
use crate::model::ModelFile;
use crate::model::Weights;

use super::bar::Bar;
use super::features::{Fit, calibrate};
use super::flags::{DeviceFlag, at_least};
use super::latents::{describe, named, note_of_batch, open_model};
use super::output::{Align, println, table, tell};
use super::reading::PartFlag;
use super::seeds::Seeds;

/// The longer side of an image in the figure.
const SIDE: u32 = 96;

/// Show what the discriminator's filters detect: the images to which each responds most strongly
///
/// Below each image is what the filter responds to in it, by guided backpropagation: the gradient
/// of the response, passed back through every (leaky) ReLU only where its input and the gradient
/// are both positive. Beside it is the same for the untrained network, as in figure 5 of the paper.
/// Layers are the hidden convolutions, counted from the image; a response is the largest value of a
/// filter's feature map after its activation.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  dcgan filters runs/00000-fast-faces-64 faces/ --out \
                        filters.png\n  dcgan filters runs/00000-fast-faces-64 faces/ --layer 1-4 \
                        --filters 0-3,17 --top 8")]
pub(super) struct Filters {
    /// A run's folder (its newest checkpoint), a checkpoint, an imported model, or avatars, the bundled
    /// one
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Images, as for `dcgan train` [default: 3,000 bundled avatars]
    #[arg(value_name = "DATA")]
    data: Option<PathBuf>,
    #[command(flatten)]
    part: PartFlag,
    /// Hidden convolutions, numbered from 1 at the image [default: the last]
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    layer: Option<Seeds>,
    /// Their filters, numbered from 0 [default: 0-5, the first six]
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    filters: Option<Seeds>,
    /// Number of strongest images to show for each filter
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least(1))]
    top: usize,
    /// Always show whole images, even if a filter sees only a small part of them
    #[arg(long)]
    whole: bool,
    /// Batch size
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least(1))]
    batch: usize,
    /// Random seed of the untrained network's weights
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The figure to write
    #[arg(long, value_name = "FILE.png", default_value = "filters.png")]
    out: PathBuf,
    /// Use the weights of the last step, not their moving average (EMA)
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    fit: Fit,
    #[command(flatten)]
    device: DeviceFlag,
}

/// The names of both networks.
const NAMES: [&str; 2] = ["trained", "untrained"];

impl Filters {
    pub(super) fn run(&self) -> Result<()> {
        let out = named("--out", &self.out, "png")?;
        let model = open_model(&self.model)?;
        model.discriminator()?;
        model.unconditional(
            "and which filters respond depends on the class as well as on the image; use a model \
             that was trained without --conditional",
        )?;
        let all = feature_layers(&model.networks)?;
        let (layers, wanted) = self.wanted(&all)?;
        let prepare = self.fit.prepare(&model.networks)?;
        let source = self.part.open(self.data.as_deref())?;
        println(&format!("{:<12}{}", "data", source.description()))?;

        let mut observers = self.observers(&model, &source, &prepare, &wanted)?;
        let bar = Bar::new(source.len(), "images");
        let skipped = observe(&mut observers, &source, &prepare, self.top, |n| bar.add(n))?;
        bar.finish();
        for skipped in &skipped {
            tell!("unreadable, left out: {skipped}");
        }
        println(&report(&source, &layers, &wanted, &observers))?;

        let title = match &layers[..] {
            [layer] => format!("What the filters of D's convolution {layer} look for"),
            _ => "What the filters of D's convolutions look for".into(),
        };
        let mut figure = Figure::new(title)
            .note(format!("{}; {}.", describe(&self.model, &model), source.description()))
            .note(
                "Upper rows: the images to which a filter responds most strongly, with its \
                 response; the frame marks the receptive field. Lower rows: guided backpropagation \
                 from that position, gray where the gradient is zero, each scaled to its own \
                 largest value.",
            );
        let look = Look { source: &source, prepare: &prepare, whole: self.whole };
        let mut silent = false;
        let mut parts = false;
        for (i, (layer, wanted)) in layers.iter().zip(&wanted).enumerate() {
            let [h, w, c] = wanted.level.size;
            parts |= look.is_part(observers[0].field(&wanted.level, [0, 0]));
            let headings = [
                format!(
                    "Trained: convolution {layer} of {}, {c} filters, {h}x{w} positions",
                    all.len()
                ),
                format!("The same network untrained (seed {})", self.seed),
            ];
            for (n, (observer, heading)) in observers.iter_mut().zip(headings).enumerate() {
                let mut strongest = observer.answers()[i].iter().flat_map(|a| &a.strongest);
                silent |= strongest.any(|response| response.strength <= 0.0);
                let panel = look.panel(observer, i, wanted, heading)?;
                figure = if n == 0 { figure.panel(panel) } else { figure.beside(panel) };
            }
        }
        if parts {
            figure = figure.note(
                "If a position sees a small part of an image, only that part is shown; white is \
                 beyond the image's edge.",
            );
        }
        if silent {
            figure = figure.note(
                "A filter whose response is not positive does not fire: its gradient is zero.",
            );
        }
        figure.save(out)?;
        println(&format!("{:<12}{}", "figure", out.display()))
    }

    /// The requested layers by number, and what to watch in each.
    fn wanted(&self, all: &[FeatureLayer]) -> Result<(Vec<u64>, Vec<Wanted>)> {
        let layers = match &self.layer {
            Some(Seeds(layers)) => layers.clone(),
            None => vec![all.len() as u64],
        };
        let wanted = layers.iter().map(|&layer| {
            let level = (layer as usize).checked_sub(1).and_then(|i| all.get(i));
            let Some(level) = level else {
                return Err(Error::flag("--layer", no_layer(layer, all)));
            };
            let channels = level.size[2];
            let filters = match &self.filters {
                Some(Seeds(filters)) => filters.iter().map(|&f| f as usize).collect(),
                None => (0..channels.min(6)).collect::<Vec<_>>(),
            };
            if let Some(filter) = filters.iter().find(|&&f| f >= channels) {
                let what = format!(
                    "there is no filter {filter}: convolution {layer} has {channels}, from 0 to {}",
                    channels - 1
                );
                return Err(Error::flag("--filters", what));
            }
            Ok(Wanted { level: *level, filters })
        });
        let wanted = wanted.collect::<Result<_>>()?;
        Ok((layers, wanted))
    }

    /// The trained network, and the untrained one.
    fn observers(
        &self,
        model: &ModelFile,
        source: &Source,
        prepare: &Prepare,
        wanted: &[Wanted],
    ) -> Result<Vec<Observer>> {
        let device = self.device.open(false)?;
        let networks = &model.networks;
        let mut state = State::new(&device);
        model.load_discriminator(&mut state, Weights::raw(self.raw))?;
        let extractor = Extractor::new(networks, &mut state, self.batch)?;
        calibrate(&extractor, &mut state, source, prepare)?;
        let trained = Observer::new(networks, state, wanted.to_vec(), self.batch)?;
        note_of_batch(trained.batch(), self.batch);

        let mut state = State::new(&device);
        // Without statistics of its own an untrained network's responses fade from layer to layer.
        untrained(networks, By::Discriminator, &mut state, self.seed)?
            .calibrate(&mut state, source, prepare)?;
        let untrained = Observer::new(networks, state, wanted.to_vec(), self.batch)?;
        Ok(vec![trained, untrained])
    }
}

/// The message for a missing layer, with the existing ones.
pub(super) fn no_layer(layer: u64, all: &[FeatureLayer]) -> String {
    let each = all.iter().enumerate().map(|(i, level)| {
        let [h, w, c] = level.size;
        format!("{} (main.{}, {h}x{w}, {c} maps)", i + 1, level.conv)
    });
    let each: Vec<String> = each.collect();
    format!("there is no hidden convolution {layer}; this network has {}", each.join(", "))
}

/// The responses of every filter, in a table.
fn report(source: &Source, layers: &[u64], wanted: &[Wanted], observers: &[Observer]) -> String {
    let head = ["layer", "filter", "network", "mean", "fires for, %", "strongest", "by"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut seen = 0;
    for (i, (layer, wanted)) in layers.iter().zip(wanted).enumerate() {
        for (j, filter) in wanted.filters.iter().enumerate() {
            for (observer, name) in observers.iter().zip(NAMES) {
                let answers = &observer.answers()[i][j];
                seen = answers.seen;
                let Some(first) = answers.strongest.first() else { continue };
                let fires = 100.0 * answers.fired as f64 / answers.seen.max(1) as f64;
                rows.push(vec![
                    layer.to_string(),
                    filter.to_string(),
                    name.to_owned(),
                    format!("{:.2}", answers.mean()),
                    format!("{fires:.1}"),
                    format!("{:.2}", first.strength),
                    source.item_name(first.item as usize),
                ]);
            }
        }
    }
    let mut align = [Align::Right; 7];
    (align[2], align[6]) = (Align::Left, Align::Left);
    format!("responses to {}\n{}", plural(seen as u64, "image"), table(&align, &rows))
}

/// What the panels are made from.
struct Look<'a> {
    source: &'a Source,
    prepare: &'a Prepare,
    whole: bool,
}

impl Look<'_> {
    /// Images and guided gradients of the requested filters in requested layer `i`.
    fn panel(
        &self,
        observer: &mut Observer,
        i: usize,
        wanted: &Wanted,
        heading: String,
    ) -> Result<Panel> {
        let mut panel = Panel::new(heading);
        let answers = observer.answers()[i].clone();
        // All filters together: one program for a layer.
        let mut images = Vec::new();
        for (&filter, answers) in wanted.filters.iter().zip(&answers) {
            for response in &answers.strongest {
                let image = self.source.prepared(response.item as usize, self.prepare);
                let gone = |reason| Error::file(self.source.origin(), reason);
                images.push((filter, image.map_err(gone)?));
            }
        }
        let mut guided = observer.explain(&wanted.level, &images)?.into_iter().zip(&images);
        for (filter, answers) in wanted.filters.iter().zip(&answers) {
            let (mut upper, mut lower) = (Vec::new(), Vec::new());
            for (response, (guided, (_, image))) in answers.strongest.iter().zip(&mut guided) {
                let field = observer.field(&wanted.level, guided.place);
                let numbers = values(image);
                let image = self.image(numbers)?;
                let gradient = self.image(self.shown(guided.gradient))?;
                let caption = format!("{:.2}", response.strength).replace('-', "\u{2212}");
                if self.is_part(field) {
                    upper.push(Cell::new(cut(&image, field)).caption(caption));
                    lower.push(Cell::new(cut(&gradient, field)));
                } else {
                    let framed = outlined(&image, SIDE, &[self.edges(field)]);
                    upper.push(Cell::new(framed).caption(caption));
                    lower.push(Cell::new(gradient));
                }
            }
            panel = panel.row(format!("filter {filter}"), upper).row("guided", lower);
        }
        Ok(panel)
    }

    /// Values `[h, w, c]` in [−1, 1] as an image.
    fn image(&self, numbers: Vec<f32>) -> Result<DynamicImage> {
        let Prepare { height, width, channels, .. } = *self.prepare;
        single(&numbers, [1, height, width, channels], 0)
    }

    /// A gradient as an image: its largest value is black or white, zero is gray.
    fn shown(&self, mut gradient: Vec<f32>) -> Vec<f32> {
        let channels = self.prepare.channels;
        if channels == 4 {
            // The gradient of alpha is not drawn: it would hide the rest.
            gradient.chunks_mut(4).for_each(|pixel| pixel[3] = 0.0);
        }
        let largest = gradient.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        if largest > 0.0 {
            gradient.iter_mut().for_each(|x| *x /= largest);
        }
        if channels == 4 {
            gradient.chunks_mut(4).for_each(|pixel| pixel[3] = 1.0);
        }
        gradient
    }

    /// Whether only a receptive field is shown: one of at most half of the image's sides.
    fn is_part(&self, field: [[isize; 2]; 2]) -> bool {
        let Prepare { height, width, .. } = *self.prepare;
        let small =
            |[first, last]: [isize; 2], side: usize| 2 * (last - first + 1) <= side as isize;
        !self.whole && small(field[0], height) && small(field[1], width)
    }

    /// First and last row and column as `[x, y, width, height]`, as far as they lie in the image.
    fn edges(&self, [rows, columns]: [[isize; 2]; 2]) -> [f64; 4] {
        let within = |[first, last]: [isize; 2], side: usize| {
            let first = first.max(0);
            [first as f64, ((last + 1).min(side as isize) - first) as f64]
        };
        let [y, h] = within(rows, self.prepare.height);
        let [x, w] = within(columns, self.prepare.width);
        [x, y, w, h]
    }
}
