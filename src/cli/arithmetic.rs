//! `dcgan arithmetic`: sums and differences of latents, and the resulting images.

use std::path::PathBuf;

use clap::{ArgAction, ArgMatches, Args, FromArgMatches};

use crate::error::{Error, Result};
use crate::experiments::arithmetic::{NOISE, Sign, mean, neighbors, sum, turned};
use crate::experiments::walk::evenly;
use crate::images::figure::{Cell, Figure, Panel};
use crate::images::single;
use crate::model::ModelFile;
use crate::tensor::Tensor;

use super::drawing::{Drawing, cells};
use super::flags::at_least;
use super::latents::{ModelFlags, named, write_npy};
use super::output::println;
use super::points::{Locator, Point, Points, Range, TruncationFlag, rows};

/// Add and subtract what images have in common, or move images along a direction
///
/// Each --plus and --minus is a group of images, best three or more, whose latents are averaged;
/// the means are added or subtracted in the order typed. The figure shows the groups, their means,
/// and the result among 8 neighbors. With --from and --to, the images of --seeds are moved along
/// the difference of the two groups.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  dcgan arithmetic runs/00000-fast-avatars-64 --plus 1,5,9 \
                        --minus 2,4,8 --plus 7,11,30 --out out.png\n  dcgan arithmetic \
                        runs/00000-fast-avatars-64 --from 1,5,9,12 --to 2,4,8,14 --seeds 20-24")]
pub(super) struct Arithmetic {
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    groups: Groups,
    /// The group at which the direction starts
    #[arg(long, value_name = "LIST", requires = "to", conflicts_with_all = ["plus", "minus"])]
    from: Option<Points>,
    /// The group at which the direction ends
    #[arg(long, value_name = "LIST", requires = "from")]
    to: Option<Points>,
    /// Images to move along the direction [default: 0-4]
    #[arg(long, value_name = "LIST", requires = "from")]
    seeds: Option<Points>,
    /// Multiples of the direction to add, from the first column to the last [default: -1..1]
    #[arg(long, value_name = "LOW..HIGH", requires = "from", allow_hyphen_values = true)]
    range: Option<Range>,
    /// Number of such columns [default: 9]
    #[arg(long, value_name = "N", requires = "from", value_parser = at_least(2))]
    steps: Option<usize>,
    #[command(flatten)]
    truncation: TruncationFlag,
    /// Maximum distance of the result's neighbors in each coordinate [default: 0.25]
    #[arg(long, value_name = "X", conflicts_with = "from")]
    noise: Option<f32>,
    /// Random seed of the neighbors
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The figure to write
    #[arg(long, value_name = "FILE.png", default_value = "arithmetic.png")]
    out: PathBuf,
    /// Also write the latent of the result, or the direction, float32 [1, nz]
    #[arg(long, value_name = "FILE.npy")]
    latents: Option<PathBuf>,
}

/// `--plus` and `--minus` in the order typed.
#[derive(Clone, Debug, Default)]
struct Groups(Vec<(Sign, Points)>);

const PLUS: &str = "A group to add: seeds, rows of files of latents (z.npy, z.npy:2), or, if the \
                    model has an encoder, images (a.png)";

/// The flags' names.
const FLAGS: [(Sign, &str, &str); 2] = [
    (Sign::Plus, "plus", PLUS),
    (Sign::Minus, "minus", "A group to subtract; both may be given several times"),
];

impl Args for Groups {
    fn augment_args(command: clap::Command) -> clap::Command {
        FLAGS.iter().fold(command, |command, (_, name, help)| {
            command.arg(
                clap::Arg::new(*name)
                    .long(*name)
                    .value_name("LIST")
                    .help(*help)
                    .action(ArgAction::Append)
                    .allow_hyphen_values(true)
                    .value_parser(clap::value_parser!(Points)),
            )
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Groups {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let mut groups = Vec::new();
        for (sign, name, _) in FLAGS {
            let points = matches.get_many::<Points>(name).into_iter().flatten();
            let indices = matches.indices_of(name).into_iter().flatten();
            groups.extend(indices.zip(points).map(|(at, points)| (at, (sign, points.clone()))));
        }
        groups.sort_by_key(|&(at, _)| at);
        Ok(Self(groups.into_iter().map(|(_, group)| group).collect()))
    }

    fn update_from_arg_matches(
        &mut self,
        matches: &ArgMatches,
    ) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Arithmetic {
    pub(super) fn run(&self) -> Result<()> {
        named("--out", &self.out, "png")?;
        if let Some(latents) = &self.latents {
            named("--latents", latents, "npy")?;
        }
        let model = self.model.load()?;
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => self.turn(&model, from, to),
            _ => self.add(&model),
        }
    }

    fn add(&self, model: &ModelFile) -> Result<()> {
        let Groups(groups) = &self.groups;
        if groups.is_empty() {
            let what = "give groups to add and subtract, such as --plus 1,5,9 --minus 2,4,8 \
                        --plus 7,11,30, or a turn by --from and --to";
            return Err(Error::flag("--plus", what));
        }
        let noise = self.noise.unwrap_or(NOISE);
        if !(noise >= 0.0 && noise.is_finite()) {
            return Err(Error::flag("--noise", format!("{noise} is not a distance such as 0.25")));
        }
        let mut locator = Locator::new(&self.model, model).truncated(self.truncation);
        let load = |(sign, points): &(Sign, Points)| {
            let flag = if *sign == Sign::Plus { "--plus" } else { "--minus" };
            Ok((*sign, points.load(&mut locator, flag)?))
        };
        let groups: Vec<(Sign, Vec<Point>)> = groups.iter().map(load).collect::<Result<_>>()?;
        let mut generator = self.model.generator(model)?;

        let mut means = Vec::new();
        let mut pixels = Vec::new();
        let mut members = group_panel("Groups");
        for (sign, points) in &groups {
            let middle = center(points);
            let (row, mean_pixels) = group_row(&mut generator, points, &middle)?;
            members = members.row(sign.to_string(), row);
            pixels.push((*sign, mean_pixels));
            means.push((*sign, middle));
        }
        let result = sum(&means);
        let mut around = generator.cells(&neighbors(&result, noise, self.seed))?;
        around[4] = std::mem::take(&mut around[4]).framed();
        let mut result_panel =
            Panel::new(format!("Result (framed) and its neighbors, \u{b1}{noise}"));
        for cells in around.chunks(3) {
            result_panel = result_panel.row("", cells.to_vec());
        }
        let pixels = sum(&pixels);
        let network = &model.networks;
        let shape = [1, network.size.height, network.size.width, network.channels];
        let same = Cell::new(single(&pixels, shape, 0)?).caption("the same sum\nof pixels");
        let figure = Figure::new(format!("Arithmetic on latents: {}", self.formula()))
            .note(self.truncation.describe(self.model.describe(model)))
            .panel(members)
            .beside(result_panel)
            .beside(Panel::new("For comparison").row("", [same]));
        figure.save(&self.out)?;
        println(&format!("{:<12}{}", "sum", self.formula()))?;
        println(&format!("{:<12}{}", "figure", self.out.display()))?;
        self.save_latents(result)
    }

    /// The groups as they were typed: `+ (1, 5, 9) − (2, 4, 8)`.
    fn formula(&self) -> String {
        let mut formula = String::new();
        for (i, (sign, points)) in self.groups.0.iter().enumerate() {
            if i > 0 || *sign == Sign::Minus {
                formula += &format!("{}{sign} ", if i > 0 { " " } else { "" });
            }
            formula += &format!("({})", points.text);
        }
        formula
    }

    fn turn(&self, model: &ModelFile, from: &Points, to: &Points) -> Result<()> {
        let mut locator = Locator::new(&self.model, model).truncated(self.truncation);
        let mut load = |points: &Points, flag| points.load(&mut locator, flag);
        let groups = [("from", load(from, "--from")?), ("to", load(to, "--to")?)];
        let seeds = || "0-4".parse().expect("a list of seeds");
        let points = load(&self.seeds.clone().unwrap_or_else(seeds), "--seeds")?;
        let range = self.range.map_or([-1.0, 1.0], |range| range.0);
        let amounts = evenly(range, self.steps.unwrap_or(9));
        let mut generator = self.model.generator(model)?;

        let mut members = group_panel("");
        let mut means = Vec::new();
        for (name, points) in &groups {
            let middle = center(points);
            members = members.row(*name, group_row(&mut generator, points, &middle)?.0);
            means.push(middle);
        }
        let (to_mean, from_mean) = (means.swap_remove(1), means.swap_remove(0));
        let vector = sum(&[(Sign::Plus, to_mean), (Sign::Minus, from_mean)]);

        let itself = amounts.iter().position(|&amount| amount == 0.0);
        let labels = amounts.iter().map(|&amount| match amount {
            0.0 => "as it is".to_owned(),
            _ => format!("{amount:+.2}").replace('-', "\u{2212}"),
        });
        let mut turns = Panel::new(
            "Added to other latents: this multiple of the mean of \"to\" minus the \
                                    mean of \"from\"",
        )
        .columns(labels);
        for point in &points {
            let mut cells = generator.cells(&turned(&point.z, &vector, &amounts))?;
            if let Some(itself) = itself {
                cells[itself] = std::mem::take(&mut cells[itself]).framed();
            }
            turns = turns.row(&point.name, cells);
        }
        let figure = Figure::new("A direction in latent space")
            .note(self.truncation.describe(self.model.describe(model)))
            .panel(members)
            .panel(turns);
        figure.save(&self.out)?;
        println(&format!("{:<12}({}) to ({})", "turn", from.text, to.text))?;
        println(&format!("{:<12}{}", "figure", self.out.display()))?;
        self.save_latents(vector)
    }

    fn save_latents(&self, z: Vec<f32>) -> Result<()> {
        let Some(path) = &self.latents else { return Ok(()) };
        write_npy(path, &Tensor::new([1, z.len()], z)?)?;
        println(&format!("{:<12}{}", "latents", path.display()))
    }
}

/// The mean of points.
fn center(points: &[Point]) -> Vec<f32> {
    mean(&points.iter().map(|point| point.z.clone()).collect::<Vec<_>>())
}

/// A panel for groups, one per row, with their means first.
fn group_panel(heading: &str) -> Panel {
    Panel::new(heading).columns(["mean", "its images"]).gap_before(1)
}

/// The image of a group's mean latent and those of its members; and the mean of the members'
/// pixels.
fn group_row(
    generator: &mut Drawing,
    points: &[Point],
    middle: &[f32],
) -> Result<(Vec<Cell>, Vec<f32>)> {
    let images = generator.images(&rows(points))?;
    let each = images.f32s().chunks(images.len() / points.len());
    let pixels = mean(&each.map(<[f32]>::to_vec).collect::<Vec<_>>());
    let mut row = generator.cells(middle)?;
    let members = cells(&images)?;
    row.extend(members.into_iter().zip(points).map(|(cell, point)| cell.caption(&point.name)));
    Ok((row, pixels))
}
