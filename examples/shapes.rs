//! Images of simple shapes with exact normal maps, for SS-GAN (arXiv 1603.05631): one to three spheres,
//! rounded boxes and tori that merge, before a wall, seen by an orthographic camera.
//!
//! ```text
//! cargo run --release --example shapes -- shapes.zip            20,000 images of 32×32
//! cargo run --release --example shapes -- shapes/ 500 64        500 of 64×64, in a folder
//! ```
//!
//! Every image is ray-marched to the zero of a signed distance `d(p)`, whose gradient is the normal. The
//! union of two shapes is smooth: with `h = clamp(½ + ½ (b − a) / k, 0, 1)` it has the distance
//! `h a + (1 − h) b − k h (1 − h)` and, as the derivative by `h` is 0, the gradient `h ∇a + (1 − h) ∇b`.
//! The shading of a normal n is `albedo · (ambient + light · max(0, n · l))`, without shadows and
//! textures: an albedo, a light's direction and its color for each image.
//!
//! Normal maps are `normals/00000.png` for `images/00000.png`: x to the right, y up, z to the viewer, as
//! `127.5 (n + 1)`.

use std::error::Error;
use std::io::Cursor;
use std::path::PathBuf;

use dcgan::data::SubsetWriter;
use dcgan::rng::{Stream, unit};
use image::{ImageFormat, RgbImage};
use rayon::prelude::*;

type Vector = [f32; 3];

/// A distance and its gradient.
type Field = (f32, Vector);

/// Scenes that are rendered at a time.
const CHUNK: usize = 1000;

/// How smoothly shapes merge, the roundness of boxes, and where rays begin and are at a surface.
const BLEND: f32 = 0.12;
const ROUND: f32 = 0.06;
const START: f32 = 1.5;
const NEAR: f32 = 1e-4;
const STEPS: usize = 200;

fn dot(a: Vector, b: Vector) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn scaled(a: Vector, by: f32) -> Vector {
    a.map(|x| x * by)
}

fn sum(a: Vector, b: Vector) -> Vector {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

fn unit_length(a: Vector) -> Vector {
    scaled(a, 1.0 / dot(a, a).sqrt().max(1e-9))
}

#[derive(Clone, Copy)]
enum Form {
    Sphere { radius: f32 },
    Box { half: Vector },
    Torus { ring: f32, tube: f32 },
}

/// A form, turned and moved.
struct Shape {
    form: Form,
    center: Vector,
    /// Its axes, as rows.
    axes: [Vector; 3],
}

impl Form {
    /// The distance of a point in its own coordinates, with its gradient.
    fn field(self, p: Vector) -> Field {
        match self {
            Self::Sphere { radius } => (dot(p, p).sqrt() - radius, unit_length(p)),
            Self::Box { half } => {
                let q = [0, 1, 2].map(|i| p[i].abs() - half[i] + ROUND);
                let out = q.map(|x| x.max(0.0));
                let outside = dot(out, out).sqrt();
                let largest = q[0].max(q[1]).max(q[2]);
                let toward = match outside > 0.0 {
                    true => scaled(out, 1.0 / outside),
                    false => q.map(|x| f32::from(x == largest)),
                };
                let gradient = [0, 1, 2].map(|i| toward[i] * p[i].signum());
                (outside + largest.min(0.0) - ROUND, gradient)
            }
            Self::Torus { ring, tube } => {
                let flat = p[0].hypot(p[1]).max(1e-9);
                let away = [p[0] / flat * (flat - ring), p[1] / flat * (flat - ring), p[2]];
                (dot(away, away).sqrt() - tube, unit_length(away))
            }
        }
    }
}

impl Shape {
    fn drawn(draw: &mut impl FnMut(f32, f32) -> f32) -> Self {
        let form = match draw(0.0, 3.0) {
            x if x < 1.0 => Form::Sphere { radius: draw(0.25, 0.5) },
            x if x < 2.0 => Form::Box { half: [0; 3].map(|_| draw(0.18, 0.42)) },
            _ => Form::Torus { ring: draw(0.25, 0.42), tube: draw(0.09, 0.18) },
        };
        let mut direction = || {
            // By rejection from a cube.
            loop {
                let v = [0; 3].map(|_| draw(-1.0, 1.0));
                if (0.01..1.0).contains(&dot(v, v)) {
                    return unit_length(v);
                }
            }
        };
        let (first, other) = (direction(), direction());
        let second = unit_length(sum(other, scaled(first, -dot(first, other))));
        let third = [
            first[1] * second[2] - first[2] * second[1],
            first[2] * second[0] - first[0] * second[2],
            first[0] * second[1] - first[1] * second[0],
        ];
        let center = [draw(-0.5, 0.5), draw(-0.5, 0.5), draw(0.1, 0.4)];
        Self { form, center, axes: [first, second, third] }
    }

    fn field(&self, p: Vector) -> Field {
        let p = sum(p, scaled(self.center, -1.0));
        let (distance, gradient) = self.form.field(self.axes.map(|axis| dot(axis, p)));
        let turned = [0, 1, 2].map(|i| scaled(self.axes[i], gradient[i]));
        (distance, sum(sum(turned[0], turned[1]), turned[2]))
    }
}

/// Of the merged shapes and the wall at z = 0.
fn scene(shapes: &[Shape], p: Vector) -> Field {
    let merge = |(a, of_a): Field, (b, of_b): Field| {
        let h = (0.5 + 0.5 * (b - a) / BLEND).clamp(0.0, 1.0);
        let gradient = sum(scaled(of_a, h), scaled(of_b, 1.0 - h));
        (h * a + (1.0 - h) * b - BLEND * h * (1.0 - h), gradient)
    };
    let merged = shapes.iter().map(|shape| shape.field(p)).reduce(merge);
    let wall = (p[2], [0.0, 0.0, 1.0]);
    merged.filter(|merged| merged.0 < wall.0).unwrap_or(wall)
}

/// The normal where the ray through `x` and `y` meets the scene.
fn normal(shapes: &[Shape], x: f32, y: f32) -> Vector {
    let mut z = START;
    for _ in 0..STEPS {
        let (distance, _) = scene(shapes, [x, y, z]);
        if distance < NEAR {
            break;
        }
        z -= distance;
    }
    let mut n = unit_length(scene(shapes, [x, y, z]).1);
    // Rays that graze a surface may end just behind its edge.
    n[2] = n[2].max(0.0);
    unit_length(n)
}

fn png(pixels: Vec<u8>, side: usize) -> Vec<u8> {
    let image = RgbImage::from_raw(side as u32, side as u32, pixels).expect("as many as it has");
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).expect("memory takes all");
    bytes.into_inner()
}

/// Scene number `number` of a seed: its image and its normal map as PNG.
fn render(seed: u64, number: usize, side: usize) -> [Vec<u8>; 2] {
    let mut stream = Stream::new(seed, "shapes", number as u32);
    let mut draw = move |low: f32, high: f32| low + (high - low) * unit(stream.next_u32());
    let shapes: Vec<Shape> =
        (0..1 + draw(0.0, 3.0) as usize).map(|_| Shape::drawn(&mut draw)).collect();
    let albedo = [0; 3].map(|_| draw(0.3, 1.0));
    let light = unit_length([draw(-1.0, 1.0), draw(-1.0, 1.0), draw(0.3, 1.0)]);
    let (ambient, color) = (draw(0.15, 0.3), [0; 3].map(|_| draw(0.45, 0.7)));
    let at = |i: usize| 2.0 * (i as f32 + 0.5) / side as f32 - 1.0;
    let (mut image, mut map) = (Vec::new(), Vec::new());
    for pixel in 0..side * side {
        let n = normal(&shapes, at(pixel % side), -at(pixel / side));
        let lit = dot(n, light).max(0.0);
        let shade = |i: usize| albedo[i] * (ambient + color[i] * lit);
        image.extend([0, 1, 2].map(|i| (255.0 * shade(i)).round() as u8));
        map.extend(n.map(|x| (127.5 * (x + 1.0)).round() as u8));
    }
    [png(image, side), png(map, side)]
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: shapes FOLDER|FILE.zip [COUNT] [SIDE] [SEED]";
    let path = PathBuf::from(args.next().ok_or(usage)?);
    let mut number = |usual: u64| args.next().map_or(Ok(usual), |text| text.parse());
    let (count, side, seed) = (number(20_000)? as usize, number(32)? as usize, number(0)?);
    if !(1..=1_000_000).contains(&count) || !(8..=1024).contains(&side) {
        return Err("COUNT must be 1 to 1000000, and SIDE 8 to 1024".into());
    }
    let mut out = SubsetWriter::create(&path)?;
    for first in (0..count).step_by(CHUNK) {
        let all: Vec<_> = (first..count.min(first + CHUNK))
            .into_par_iter()
            .map(|number| (number, render(seed, number, side)))
            .collect();
        for (number, [image, map]) in all {
            out.add(&format!("images/{number:05}.png"), &image)?;
            out.add(&format!("normals/{number:05}.png"), &map)?;
        }
    }
    out.finish()?;
    println!("{count} images of {side}x{side} with normal maps in {}", path.display());
    Ok(())
}
