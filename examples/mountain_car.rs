//! The mountain car, learned by tabular Q-learning: no network, only a table of 40 × 40 states.
//!
//! `cargo run --release --example mountain_car -- [EPISODES] [IMAGE.png]`
//!
//! A car that is too weak for the slope has to swing back first (Moore, 1990; constants of Gymnasium's
//! MountainCar-v0). Position `x` and velocity `v` after the action `a` of 0, 1 or 2:
//!
//! ```text
//! v ← v + 0.001 (a − 1) − 0.0025 cos 3x,  |v| ≤ 0.07     x ← x + v,  −1.2 ≤ x; the wall there stops it
//! Q(s, a) ← Q(s, a) + α (r + γ max Q(s′, ·) − Q(s, a))   r = −1 a step until x ≥ 0.5
//! ```
//!
//! Values begin at 0, more than can be reached: what has not been tried looks best. An episode ends after
//! 200 steps at the latest: a return of −200 is the worst, and one of −110 counts as solved.

use std::path::Path;

use dcgan::images::figure::{Cell, Figure, Panel};
use dcgan::rng::{Stream, unit};
use image::{Rgb, RgbImage};

const CELLS: usize = 40;
const ACTIONS: usize = 3;
const STEPS: usize = 200;
const ALPHA: f64 = 0.2;
const GAMMA: f64 = 0.99;
const LEFT: f64 = -1.2;
const GOAL: f64 = 0.5;
const FASTEST: f64 = 0.07;
const INK: [Rgb<u8>; 3] = [Rgb([27, 108, 168]), Rgb([209, 73, 91]), Rgb([170, 176, 184])];

type Table = Vec<[f64; ACTIONS]>;

#[derive(Clone, Copy)]
struct Car {
    x: f64,
    v: f64,
}

impl Car {
    /// At rest near the bottom of the valley, x from −0.6 to −0.4.
    fn start(stream: &mut Stream) -> Self {
        Self { x: -0.6 + 0.2 * f64::from(unit(stream.next_u32())), v: 0.0 }
    }

    fn after(self, action: usize) -> Self {
        let pull = 0.001 * (action as f64 - 1.0) - 0.0025 * (3.0 * self.x).cos();
        let v = (self.v + pull).clamp(-FASTEST, FASTEST);
        let x = self.x + v;
        if x <= LEFT { Self { x: LEFT, v: 0.0 } } else { Self { x, v } }
    }

    /// The cell of the table.
    fn state(self) -> usize {
        let cell = |share: f64| ((share * CELLS as f64) as usize).min(CELLS - 1);
        let row = cell((self.v + FASTEST) / (2.0 * FASTEST));
        row * CELLS + cell((self.x - LEFT) / (0.6 - LEFT))
    }
}

fn best(values: [f64; ACTIONS]) -> usize {
    (1..ACTIONS).fold(0, |best, a| if values[a] > values[best] { a } else { best })
}

/// One episode, from which the table learns if `epsilon` is given: the share of random actions.
fn episode(table: &mut Table, stream: &mut Stream, epsilon: Option<f64>) -> Vec<Car> {
    let mut path = vec![Car::start(stream)];
    while path.len() <= STEPS {
        let car = path[path.len() - 1];
        let explores = epsilon.is_some_and(|share| f64::from(unit(stream.next_u32())) < share);
        let values = table[car.state()];
        let action = if explores { stream.next_u32() as usize % ACTIONS } else { best(values) };
        let next = car.after(action);
        path.push(next);
        let is_there = next.x >= GOAL;
        if epsilon.is_some() {
            let ahead = table[next.state()];
            let ahead = if is_there { 0.0 } else { ahead[best(ahead)] };
            let value = &mut table[car.state()][action];
            *value += ALPHA * (-1.0 + GAMMA * ahead - *value);
        }
        if is_there {
            break;
        }
    }
    path
}

/// Lines through points with x and y from 0 to 1.
fn draw(lines: &[(Vec<[f64; 2]>, Rgb<u8>)]) -> Cell {
    let mut image = RgbImage::from_pixel(440, 240, Rgb([255, 255, 255]));
    let at = |[x, y]: [f64; 2]| [4.0 + 431.0 * x, 235.0 - 231.0 * y];
    for (points, ink) in lines {
        for pair in points.windows(2) {
            let ([x0, y0], [x1, y1]) = (at(pair[0]), at(pair[1]));
            let steps = (x1 - x0).abs().max((y1 - y0).abs()).ceil().max(1.0) as usize;
            for i in 0..=steps {
                let share = i as f64 / steps as f64;
                let (x, y) = (x0 + share * (x1 - x0), y0 + share * (y1 - y0));
                for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    image.put_pixel((x as u32 + dx).min(439), (y as u32 + dy).min(239), *ink);
                }
            }
        }
    }
    Cell::new(image.into())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let episodes: usize = args.next().map_or(Ok(20_000), |text| text.parse())?;
    let out = args.next().unwrap_or_else(|| "mountain_car.png".into());
    let (mut table, mut stream) = (vec![[0.0; ACTIONS]; CELLS * CELLS], Stream::new(0, "car", 0));
    let (mut curve, window, mut sum) = (Vec::new(), (episodes / 100).max(1), 0.0);
    for i in 1..=episodes {
        let epsilon = 0.1 * (1.0 - i as f64 / episodes as f64);
        sum -= (episode(&mut table, &mut stream, Some(epsilon)).len() - 1) as f64;
        if i % window == 0 {
            let mean = std::mem::take(&mut sum) / window as f64;
            curve.push([i as f64 / episodes as f64, (mean + 200.0) / 110.0]);
            if i % (10 * window) == 0 {
                println!("episode {i:>6}: mean return {mean:.1}");
            }
        }
    }
    let mut returns: Vec<usize> =
        (0..1000).map(|_| episode(&mut table, &mut stream, None).len() - 1).collect();
    let mean = -(returns.iter().sum::<usize>() as f64) / returns.len() as f64;
    returns.sort_unstable();
    let note = format!("greedy, 1,000 episodes: mean return {mean:.1}, median -{}", returns[500]);
    println!("{note}");
    let path = episode(&mut table, &mut stream, None);
    let level = |value: f64, ink| (vec![[0.0, value], [1.0, value]], ink);
    let learning = draw(&[level(0.0, INK[2]), level(90.0 / 110.0, INK[1]), (curve, INK[0])]);
    let height = |x: f64| 0.5 + 0.45 * (3.0 * x).sin();
    let hill = (0..=200).map(|i| [i as f64 / 200.0, height(LEFT + 1.8 * i as f64 / 200.0) * 0.6]);
    // The car's height above the ground is its time, from the first step to the last.
    let last = path.len() as f64;
    let flight = path.iter().enumerate().map(|(i, car)| {
        [((car.x - LEFT) / 1.8).min(1.0), height(car.x) * 0.6 + 0.4 * (i as f64 / last)]
    });
    let drive = draw(&[(hill.collect(), INK[2]), (flight.collect(), INK[0])]);
    let learning = learning
        .caption(format!("returns of {episodes} episodes, from -200 (gray) to -90; -110 is red"));
    let drive = drive.caption(format!("a path of {} steps: higher is later", path.len() - 1));
    let figure = Figure::new("Mountain car by Q-learning").note(note);
    figure.panel(Panel::new("").row("", [learning, drive])).save(Path::new(&out))?;
    println!("figure in {out}");
    Ok(())
}
