//! The figure of `dcgan forget`.

use image::imageops::FilterType;

use crate::error::Result;
use crate::human::plural;
use crate::images::figure::{Cell, Figure, Panel};
use crate::images::outline::outlined;
use crate::images::single;
use crate::tensor::Tensor;

use super::{Marked, Report, Samples};

/// The longer side of an image in the figure.
const SIDE: u32 = 96;
/// Samples per row.
const COLUMNS: usize = 8;

/// The marked samples and fresh ones, before and after.
pub(super) fn figure(
    report: &Report,
    marked: &Samples,
    marks: &Marked,
    fresh: &Samples,
    shown: usize,
) -> Result<Figure> {
    let [h, w, c] = report.size;
    let dropped = report.dropped.len();
    // Fewer than all of them where --at-most says so.
    let above = report.weights.iter().filter(|&&weight| weight > report.threshold).count();
    let which = match above == dropped {
        true => "the maps whose".to_owned(),
        false => format!("the {dropped} of largest weight among {above} whose"),
    };
    let held_out = report.held_out.map_or_else(String::new, |right| {
        format!(
            " On held-out samples it classifies {:.0} % of the positions inside and {:.0} % of \
            those outside correctly.",
            100.0 * right.inside,
            100.0 * right.outside
        )
    });
    let mut figure = Figure::new(format!(
        "Forgetting what boxes mark: {dropped} of {c} maps of the generator's convolution {} dropped",
        report.layer
    ))
    .note(format!(
        "{}. A logistic regression on the {c} maps at {h}x{w} positions learned {} on {}; \
         dropped are {which} weight is above {}.{held_out}",
        report.model,
        plural(report.boxes as u64, "box"),
        plural(report.samples as u64, "sample"),
        report.threshold
    ))
    .note(format!(
        "The marked samples' pixels change by {:.1} of 255 levels inside of boxes and {:.1} outside; \
         with {dropped} maps at random by {:.1} and {:.1}.",
        report.change.inside,
        report.change.outside,
        report.change_of_control.inside,
        report.change_of_control.outside
    ));

    // Samples marked to show the object, before those marked not to.
    let mut order: Vec<usize> = (0..marked.names.len()).collect();
    order.sort_by_key(|&i| marks.boxes[i].is_empty());
    order.truncate(shown);
    for (n, part) in order.chunks(COLUMNS).enumerate() {
        let heading = if n == 0 { "Marked samples" } else { "" };
        let mut panel = panel(heading, marked, part);
        let [before, after, control] = cells(marked, part, |i| &marks.boxes[i])?;
        let likely: Result<Vec<Cell>> =
            part.iter().map(|&i| likelihood(report, marked, marks, i)).collect();
        panel = panel
            .row("as they are,\nwith their boxes", before)
            .row("inside?\nwhite: surely", likely?);
        figure = figure.panel(rest(panel, dropped, after, control));
    }
    let order: Vec<usize> = (0..fresh.names.len()).collect();
    for (n, part) in order.chunks(COLUMNS).enumerate() {
        let heading = if n == 0 { "Fresh samples" } else { "" };
        let [before, after, control] = cells(fresh, part, |_| &[])?;
        let panel = panel(heading, fresh, part).row("as they are", before);
        figure = figure.panel(rest(panel, dropped, after, control));
    }
    Ok(figure.enlarge_to(SIDE))
}

fn panel(heading: &str, samples: &Samples, part: &[usize]) -> Panel {
    Panel::new(heading).columns(part.iter().map(|&i| samples.names[i].clone()))
}

fn rest(panel: Panel, dropped: usize, after: Vec<Cell>, control: Vec<Cell>) -> Panel {
    panel
        .row(format!("without the\n{dropped} maps"), after)
        .row(format!("without {dropped}\nat random"), control)
}

/// Some samples of each generator, with boxes on those of the first.
fn cells<'a>(
    samples: &Samples,
    part: &[usize],
    boxes: impl Fn(usize) -> &'a [crate::experiments::forget::marks::Rect],
) -> Result<[Vec<Cell>; 3]> {
    let image = |images: &Tensor, i: usize| {
        let &[n, h, w, c] = images.shape() else { return Ok(Cell::empty()) };
        Ok(Cell::new(single(images.f32s(), [n, h, w, c], i)?))
    };
    let [before, after, control] = &samples.images;
    let &[n, h, w, c] = before.shape() else { return Ok([const { Vec::new() }; 3]) };
    let framed = |&i: &usize| {
        let image = single(before.f32s(), [n, h, w, c], i)?;
        Ok(Cell::new(outlined(&image, SIDE, boxes(i))))
    };
    let all = |images: &Tensor| part.iter().map(|&i| image(images, i)).collect();
    Ok([part.iter().map(framed).collect::<Result<_>>()?, all(after)?, {
        let cells: Result<Vec<Cell>> = all(control);
        cells?
    }])
}

/// How likely each position is inside: white is certain; with the boxes.
fn likelihood(report: &Report, samples: &Samples, marks: &Marked, i: usize) -> Result<Cell> {
    let [rows, columns, _] = report.size;
    let positions = rows * columns;
    let gray: Vec<f32> = marks.probabilities[i * positions..(i + 1) * positions]
        .iter()
        .map(|&p| (2.0 * p - 1.0) as f32)
        .collect();
    let map = single(&gray, [1, rows, columns, 1], 0)?;
    let &[_, h, w, _] = samples.images[0].shape() else { return Ok(Cell::empty()) };
    // As large as the sample beside it, whatever the layer's grid.
    let map = map.resize_exact(w as u32, h as u32, FilterType::Nearest);
    Ok(Cell::new(outlined(&map, SIDE, &marks.boxes[i])))
}
