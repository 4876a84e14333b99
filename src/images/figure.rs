//! Labeled figures: rows and columns of images with a title, headings, row and column labels and
//! captions.
//!
//! ```
//! use dcgan::images::figure::{Cell, Figure, Panel};
//! # fn main() -> dcgan::error::Result<()> {
//! let images = vec![0.0; 3 * 8 * 8];
//! let cells = Cell::all(&images, [3, 8, 8, 1])?;
//! let panel = Panel::new("Samples").columns(["seed 3", "seed 17", "seed 42"]).row("G(z)", cells);
//! let figure = Figure::new("Three samples").note("runs/00000-x, step 5000").panel(panel);
//! let image = figure.draw()?;
//! assert!(image.width() > 3 * 96);
//! # Ok(())
//! # }
//! ```
//!
//! Every text may have several lines; those after the first are paler. A column is as wide as its
//! widest image, caption or label, so nothing overlaps.

use std::path::Path;

use image::imageops;
use image::{DynamicImage, Rgb, RgbImage};

use crate::error::{Error, Result};

use super::{save_png, single, text, upscale};

const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
const INK: Rgb<u8> = Rgb([20, 22, 26]);
const PALE: Rgb<u8> = Rgb([86, 92, 100]);
const RULE: Rgb<u8> = Rgb([210, 214, 219]);
/// The frame of a highlighted cell.
pub(super) const FRAME: Rgb<u8> = Rgb([219, 110, 20]);

/// Font sizes in pixels.
const TITLE: u32 = 24;
const HEADING: u32 = 18;
const LABEL: u32 = 16;

/// Margin around the figure.
const MARGIN: u32 = 18;
/// Between neighboring cells.
const GAP: u32 = 6;
/// Between columns with an extra gap.
const WIDE_GAP: u32 = 26;
/// Between panels beside each other and below each other.
const PANEL_GAP: [u32; 2] = [34, 22];
/// Between a text and the part that it describes.
const SPACE: u32 = 5;
/// Width of a frame, inside [`GAP`].
const BORDER: u32 = 3;
/// Images are enlarged, pixel by pixel, while their longer side stays within this.
const SIDE: u32 = 96;
/// Notes are broken into lines no narrower than this, however narrow the panels.
const NARROWEST: u32 = 460;
/// The maximum number of pixels in a figure.
const MOST: u64 = 1 << 27;

/// One place of a panel: an image with a caption below it, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    image: Option<DynamicImage>,
    caption: String,
    framed: bool,
}

impl Cell {
    /// An image; transparent ones stand on white.
    #[must_use]
    pub fn new(image: DynamicImage) -> Self {
        Self { image: Some(image), ..Self::default() }
    }

    /// An empty place.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// One cell for each of `images` `[n, h, w, c]` in [−1, 1].
    ///
    /// # Errors
    /// Those of [`single`].
    pub fn all(images: &[f32], shape: [usize; 4]) -> Result<Vec<Self>> {
        (0..shape[0]).map(|i| Ok(Self::new(single(images, shape, i)?))).collect()
    }

    /// Adds a caption below it.
    #[must_use]
    pub fn caption(self, caption: impl Into<String>) -> Self {
        Self { caption: caption.into(), ..self }
    }

    /// Adds a frame, to highlight it.
    #[must_use]
    pub fn framed(self) -> Self {
        Self { framed: true, ..self }
    }
}

/// Rows and columns of cells.
#[derive(Clone, Debug, Default)]
pub struct Panel {
    heading: String,
    columns: Vec<String>,
    rows: Vec<(String, Vec<Cell>)>,
    gaps: Vec<usize>,
}

impl Panel {
    /// A panel without rows; `heading` may be empty.
    #[must_use]
    pub fn new(heading: impl Into<String>) -> Self {
        Self { heading: heading.into(), ..Self::default() }
    }

    /// Sets the labels above the columns.
    #[must_use]
    pub fn columns<L: Into<String>>(self, labels: impl IntoIterator<Item = L>) -> Self {
        Self { columns: labels.into_iter().map(Into::into).collect(), ..self }
    }

    /// Adds a row, with a label to its left; rows may have different lengths.
    #[must_use]
    pub fn row(mut self, label: impl Into<String>, cells: impl IntoIterator<Item = Cell>) -> Self {
        self.rows.push((label.into(), cells.into_iter().collect()));
        self
    }

    /// Adds space before this column (from 0).
    #[must_use]
    pub fn gap_before(mut self, column: usize) -> Self {
        self.gaps.push(column);
        self
    }

    fn count(&self) -> usize {
        let cells = self.rows.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
        cells.max(self.columns.len())
    }
}

/// A title, notes, and panels below and beside one another.
#[derive(Clone, Debug)]
pub struct Figure {
    title: String,
    notes: Vec<String>,
    /// From top to bottom, each row from left to right.
    bands: Vec<Vec<Panel>>,
    side: u32,
}

impl Figure {
    /// A figure without panels.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), notes: Vec::new(), bands: Vec::new(), side: SIDE }
    }

    /// Adds a sentence below the title, broken into lines as needed.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Enlarges images, by whole factors, while their longer side stays within this number of
    /// pixels (default 96).
    #[must_use]
    pub fn enlarge_to(self, side: u32) -> Self {
        Self { side, ..self }
    }

    /// Adds a panel below the others.
    #[must_use]
    pub fn panel(mut self, panel: Panel) -> Self {
        self.bands.push(vec![panel]);
        self
    }

    /// Adds a panel to the right of the last one; their rows are aligned.
    #[must_use]
    pub fn beside(mut self, panel: Panel) -> Self {
        match self.bands.last_mut() {
            Some(band) => band.push(panel),
            None => self.bands.push(vec![panel]),
        }
        self
    }

    /// Draws the figure.
    ///
    /// # Errors
    /// [`Error::Shape`] if it would have more than 2²⁷ pixels.
    pub fn draw(&self) -> Result<RgbImage> {
        let bands: Vec<Band<'_>> = self.bands.iter().map(|b| Band::new(b, self.side)).collect();
        let inner = bands.iter().map(Band::width).chain([block(&self.title, TITLE)[0]]).max();
        let inner = inner.unwrap_or(0);
        let wrapped = |note: &String| text::wrap(note, LABEL, inner.max(NARROWEST));
        let notes: Vec<String> = self.notes.iter().flat_map(wrapped).collect();
        let widest = notes.iter().map(|n| text::width(n, LABEL)).max().unwrap_or(0);
        let notes = notes.join("\n");

        let mut heights = vec![block(&self.title, TITLE)[1] + SPACE];
        heights.push(block(&notes, LABEL)[1]);
        heights.extend(bands.iter().map(|band| PANEL_GAP[1] + band.height()));
        let size = [inner.max(widest), heights.iter().sum()].map(|side| side + 2 * MARGIN);
        if u64::from(size[0]) * u64::from(size[1]) > MOST {
            return Err(Error::Shape {
                op: "figure",
                what: format!(
                    "it would have {} x {} pixels; show fewer images in one",
                    size[0], size[1]
                ),
                shapes: Vec::new(),
            });
        }
        let mut page = RgbImage::from_pixel(size[0], size[1], PAPER);
        let mut y = MARGIN;
        write(&mut page, &self.title, [MARGIN, y], TITLE, Align::Left, [INK; 2]);
        y += heights[0];
        write(&mut page, &notes, [MARGIN, y], LABEL, Align::Left, [PALE; 2]);
        y += heights[1];
        for band in &bands {
            y += PANEL_GAP[1];
            band.draw(&mut page, [MARGIN, y]);
            y += band.height();
        }
        Ok(page)
    }

    /// Writes the figure as PNG: completely, or not at all.
    ///
    /// # Errors
    /// Those of [`Figure::draw`], and [`Error::File`] if it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        save_png(path, &self.draw()?.into())
    }
}

/// Panels side by side, measured.
struct Band<'a> {
    panels: Vec<Measured<'a>>,
    /// Heights of the headings, of the column labels, and of each row's images and captions.
    heading: u32,
    labels: u32,
    rows: Vec<[u32; 2]>,
}

/// A panel with the sizes of its parts.
struct Measured<'a> {
    panel: &'a Panel,
    images: Vec<Vec<Option<RgbImage>>>,
    /// Width of the row labels, with the space after them.
    label: u32,
    /// Offset and width of every column, from the panel's left edge.
    columns: Vec<[u32; 2]>,
}

impl<'a> Measured<'a> {
    fn new(panel: &'a Panel, side: u32) -> Self {
        let shown = |cell: &Cell| cell.image.as_ref().map(|image| enlarged(image, side));
        let images: Vec<Vec<Option<RgbImage>>> =
            panel.rows.iter().map(|(_, cells)| cells.iter().map(shown).collect()).collect();
        let label = panel.rows.iter().map(|(label, _)| block(label, LABEL)[0]).max();
        let label = label.filter(|&width| width > 0).map_or(0, |width| width + 2 * SPACE);
        let mut columns = Vec::new();
        let mut x = label;
        for c in 0..panel.count() {
            let mut width = panel.columns.get(c).map_or(0, |label| block(label, LABEL)[0]);
            for ((_, cells), images) in panel.rows.iter().zip(&images) {
                let image = images.get(c).and_then(Option::as_ref).map_or(0, RgbImage::width);
                let caption = cells.get(c).map_or(0, |cell| block(&cell.caption, LABEL)[0]);
                width = width.max(image).max(caption);
            }
            if c > 0 {
                x += if panel.gaps.contains(&c) { WIDE_GAP } else { GAP };
            }
            columns.push([x, width]);
            x += width;
        }
        Self { panel, images, label, columns }
    }

    fn width(&self) -> u32 {
        let cells = self.columns.last().map_or(self.label, |[x, width]| x + width);
        cells.max(block(&self.panel.heading, HEADING)[0])
    }
}

impl<'a> Band<'a> {
    fn new(panels: &'a [Panel], side: u32) -> Self {
        let panels: Vec<_> = panels.iter().map(|panel| Measured::new(panel, side)).collect();
        let tallest = |height: &dyn Fn(&Measured<'_>) -> u32| {
            panels.iter().map(height).max().filter(|&height| height > 0)
        };
        let heading = tallest(&|m| block(&m.panel.heading, HEADING)[1]).map_or(0, |h| h + SPACE);
        let labels =
            tallest(&|m| m.panel.columns.iter().map(|l| block(l, LABEL)[1]).max().unwrap_or(0));
        let count = panels.iter().map(|m| m.panel.rows.len()).max().unwrap_or(0);
        let row = |r: usize| {
            let mut sizes = [0; 2];
            for measured in &panels {
                let Some((label, cells)) = measured.panel.rows.get(r) else { continue };
                let captions = cells.iter().map(|cell| block(&cell.caption, LABEL)[1]);
                let images = measured.images[r].iter().flatten().map(RgbImage::height);
                let images = images.chain([block(label, LABEL)[1]]);
                sizes[0] = images.max().unwrap_or(0).max(sizes[0]);
                sizes[1] = captions.max().unwrap_or(0).max(sizes[1]);
            }
            sizes
        };
        let rows = (0..count).map(row).collect();
        Self { heading, labels: labels.map_or(0, |h| h + SPACE), rows, panels }
    }

    fn width(&self) -> u32 {
        let gaps = PANEL_GAP[0] * self.panels.len().saturating_sub(1) as u32;
        self.panels.iter().map(Measured::width).sum::<u32>() + gaps
    }

    fn height(&self) -> u32 {
        let gaps = GAP * self.rows.len().saturating_sub(1) as u32;
        self.heading + self.labels + self.rows.iter().flatten().sum::<u32>() + gaps
    }

    fn draw(&self, page: &mut RgbImage, [left, top]: [u32; 2]) {
        let mut left = left;
        for (i, measured) in self.panels.iter().enumerate() {
            if i > 0 {
                rule(page, [left - PANEL_GAP[0] / 2, top], self.height());
            }
            self.draw_panel(page, measured, [left, top]);
            left += measured.width() + PANEL_GAP[0];
        }
    }

    fn draw_panel(&self, page: &mut RgbImage, measured: &Measured<'_>, [left, top]: [u32; 2]) {
        let panel = measured.panel;
        write(page, &panel.heading, [left, top], HEADING, Align::Left, [INK, PALE]);
        // Labels are right-aligned to the images, whatever their number of lines.
        let bottom = top + self.heading + self.labels;
        for (label, [x, width]) in panel.columns.iter().zip(&measured.columns) {
            let at = [left + x + width / 2, bottom - SPACE - block(label, LABEL)[1]];
            write(page, label, at, LABEL, Align::Center, [INK, PALE]);
        }
        let mut y = bottom;
        for ((r, (label, cells)), &[high, caption]) in panel.rows.iter().enumerate().zip(&self.rows)
        {
            let at = [left + measured.label - 2 * SPACE.min(measured.label / 2), {
                y + (high - block(label, LABEL)[1]) / 2
            }];
            write(page, label, at, LABEL, Align::Right, [INK, PALE]);
            for ((cell, image), [x, width]) in
                cells.iter().zip(&measured.images[r]).zip(&measured.columns)
            {
                if let Some(image) = image {
                    let at =
                        [left + x + (width - image.width()) / 2, y + (high - image.height()) / 2];
                    place(page, image, at, cell.framed);
                }
                let at = [left + x + width / 2, y + high];
                write(page, &cell.caption, at, LABEL, Align::Center, [INK, PALE]);
            }
            y += high + caption + GAP;
        }
    }
}

/// An image as drawn on the page.
fn enlarged(image: &DynamicImage, side: u32) -> RgbImage {
    let longer = image.width().max(image.height()).max(1);
    let image = upscale(image, (side / longer).max(1));
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let mut page = RgbImage::from_pixel(image.width(), image.height(), PAPER);
    for (under, over) in page.pixels_mut().zip(image.to_rgba8().pixels()) {
        let [r, g, b, alpha] = over.0.map(u32::from);
        let mixed = [r, g, b].map(|v| ((v * alpha + 255 * (255 - alpha) + 127) / 255) as u8);
        *under = Rgb(mixed);
    }
    page
}

fn place(page: &mut RgbImage, image: &RgbImage, [x, y]: [u32; 2], framed: bool) {
    if framed {
        let (w, h) = (image.width() + 2 * BORDER, image.height() + 2 * BORDER);
        let frame = RgbImage::from_pixel(w, h, FRAME);
        imageops::replace(page, &frame, i64::from(x - BORDER), i64::from(y - BORDER));
    }
    imageops::replace(page, image, i64::from(x), i64::from(y));
}

/// A thin vertical line.
fn rule(page: &mut RgbImage, [x, y]: [u32; 2], height: u32) {
    for y in y..y + height {
        if let Some(pixel) = page.get_pixel_mut_checked(x, y) {
            *pixel = RULE;
        }
    }
}

#[derive(Clone, Copy)]
enum Align {
    Left,
    Center,
    Right,
}

/// Width and height of a text; 0 for an empty one.
fn block(lines: &str, size: u32) -> [u32; 2] {
    let width = lines.lines().map(|line| text::width(line, size)).max().unwrap_or(0);
    [width, lines.lines().count() as u32 * line_height(size)]
}

const fn line_height(size: u32) -> u32 {
    size + size / 8
}

/// Draws lines of text; the first has the first color, the rest the second.
fn write(
    page: &mut RgbImage,
    lines: &str,
    [x, y]: [u32; 2],
    size: u32,
    align: Align,
    colors: [Rgb<u8>; 2],
) {
    for (i, line) in lines.lines().enumerate() {
        let width = text::width(line, size);
        let x = match align {
            Align::Left => x,
            Align::Center => x.saturating_sub(width / 2),
            Align::Right => x.saturating_sub(width),
        };
        let y = y + i as u32 * line_height(size);
        text::draw(page, line, [x, y], size, colors[i.min(1)]);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    /// An image of one color.
    fn flat(w: u32, h: u32, color: [u8; 3]) -> DynamicImage {
        RgbImage::from_pixel(w, h, Rgb(color)).into()
    }

    const RED: [u8; 3] = [200, 0, 0];
    const GREEN: [u8; 3] = [0, 200, 0];
    const BLUE: [u8; 3] = [0, 0, 200];

    /// The bounding box of all pixels of a color: left, top, right, bottom; and their number.
    fn found(page: &RgbImage, color: [u8; 3]) -> ([u32; 4], u32) {
        let mut bounds = [u32::MAX, u32::MAX, 0, 0];
        let mut count = 0;
        for (x, y, _) in page.enumerate_pixels().filter(|(.., p)| p.0 == color) {
            bounds =
                [bounds[0].min(x), bounds[1].min(y), bounds[2].max(x + 1), bounds[3].max(y + 1)];
            count += 1;
        }
        (bounds, count)
    }

    fn keep(name: &str, page: &RgbImage) {
        if let Some(keep) = std::env::var_os("DCGAN_TEST_KEEP") {
            page.save(Path::new(&keep).join(name)).unwrap();
        }
    }

    #[test]
    fn every_image_is_whole_and_in_its_row_and_column() {
        let panel = Panel::new("Left")
            .columns(["a", "a label that is far wider than its images", "c"])
            .row("one\nseed 3", [Cell::new(flat(32, 32, RED)), Cell::new(flat(64, 20, GREEN))])
            .row("two", [Cell::empty(), Cell::new(flat(64, 64, BLUE)).caption("below")]);
        let page = Figure::new("A title").note("A note.").panel(panel).draw().unwrap();
        keep("figure-rows.png", &page);
        let (red, reds) = found(&page, RED);
        let (green, greens) = found(&page, GREEN);
        let (blue, blues) = found(&page, BLUE);
        // 32 pixels are enlarged threefold, 64 are not.
        assert_eq!((reds, greens, blues), (96 * 96, 64 * 20, 64 * 64));
        assert_eq!([red[2] - red[0], red[3] - red[1]], [96, 96]);
        let middle = |b: [u32; 4]| [(b[0] + b[2]) / 2, (b[1] + b[3]) / 2];
        assert_eq!(middle(red)[1], middle(green)[1], "a row is centered");
        assert_eq!(middle(green)[0], middle(blue)[0], "a column is centered");
        assert!(red[2] < green[0] && red[3] < blue[1]);
        let label = text::width("a label that is far wider than its images", LABEL);
        assert!(page.width() > 2 * MARGIN + 96 + label);
    }

    #[test]
    fn panels_beside_each_other_share_their_rows() {
        let left = Panel::new("").row("x", [Cell::new(flat(96, 96, RED)).caption("two\nlines")]);
        let left = left.row("y", [Cell::new(flat(96, 96, GREEN))]);
        let right = Panel::new("Heading").columns(["c"]);
        let right =
            right.row("", [Cell::empty()]).row("", [Cell::new(flat(48, 48, BLUE)).framed()]);
        let page = Figure::new("").panel(left).beside(right).draw().unwrap();
        keep("figure-beside.png", &page);
        let (green, _) = found(&page, GREEN);
        let (blue, blues) = found(&page, BLUE);
        assert_eq!(blues, 96 * 96);
        assert_eq!(green[1], blue[1]);
        assert!(blue[0] > green[2]);
        let (frame, _) = found(&page, FRAME.0);
        assert_eq!(frame, [blue[0] - 3, blue[1] - 3, blue[2] + 3, blue[3] + 3]);
    }

    #[test]
    fn there_is_ink_for_every_text() {
        let dark = |figure: Figure| {
            let page = figure.draw().unwrap();
            page.pixels().filter(|p| p.0.iter().all(|&v| v < 200)).count()
        };
        let cell = || Cell::new(flat(96, 96, [255; 3]));
        let bare = || Panel::new("").row("", [cell()]);
        let none = dark(Figure::new("").panel(bare()));
        assert_eq!(none, 0);
        let each = [
            Figure::new("Text").panel(bare()),
            Figure::new("").note("Text").panel(bare()),
            Figure::new("").panel(Panel::new("Text").row("", [cell()])),
            Figure::new("").panel(bare().columns(["Text"])),
            Figure::new("").panel(Panel::new("").row("Text", [cell()])),
            Figure::new("").panel(Panel::new("").row("", [cell().caption("Text")])),
        ];
        for (i, figure) in each.into_iter().enumerate() {
            assert!(dark(figure) > 20, "text {i} is missing");
        }
    }

    #[test]
    fn transparent_images_stand_on_white_and_huge_figures_are_refused() {
        let half = image::RgbaImage::from_pixel(96, 96, image::Rgba([200, 0, 0, 128]));
        let figure = Figure::new("").panel(Panel::new("").row("", [Cell::new(half.into())]));
        let page = figure.draw().unwrap();
        assert_eq!(found(&page, [227, 127, 127]).1, 96 * 96);

        // Wide and high, but with hardly any pixels of its own.
        let lines = [flat(12_000, 1, RED), flat(1, 12_000, RED)].map(Cell::new);
        let huge = lines.into_iter().fold(Panel::new(""), |panel, line| panel.row("", [line]));
        let error = Figure::new("").panel(huge).draw().unwrap_err().to_string();
        assert!(error.contains("show fewer images"), "{error}");
    }

    #[test]
    fn notes_are_broken_to_the_figure() {
        let words = "word ".repeat(200);
        let panel = Panel::new("").row("", vec![Cell::new(flat(64, 64, RED)); 10]);
        let page = Figure::new("T").note(words).panel(panel).draw().unwrap();
        keep("figure-notes.png", &page);
        assert!(page.width() < 900, "{}", page.width());
        assert_eq!(found(&page, RED).1, 10 * 64 * 64);
    }
}
