//! Normal maps of a set's images: `x/a.normals.png` for `x/a.png`, or `normals/x/a.png` for
//! `images/x/a.png`, in whatever format.
//!
//! A normal is a unit vector that points out of the surface at a pixel: x to the right, y up, z to the
//! viewer. Red, green and blue are `127.5 (n + 1)`, as most programs write them. A mirrored image has its
//! normals mirrored, with x negated; a crop is the same for both.

use std::collections::{BTreeMap, HashMap};

use image::DynamicImage;

use super::messages::count;
use super::prepare::{Prepare, mirror};
use super::source::Source;
use crate::error::{Error, Result};

/// Channels of a normal map.
const AXES: usize = 3;

/// What ends the name of a normal map beside its image, before the extension.
const ENDING: &str = ".normals";

/// The folders of normal maps and of their images.
const FOLDERS: [&str; 2] = ["normals", "images"];

/// How far the length of a normal may be from 1, and the share of a map's pixels for which it may be
/// further: averages of pixels at an edge are shorter.
const TOLERANCE: f32 = 0.1;
const SHARE: f32 = 0.1;

/// The end of the error for images without normal maps.
const WHAT_WORKS: &str = "each image NAME.png needs a normal map NAME.normals.png beside it, or each \
                          images/NAME.png a normals/NAME.png";

/// Which files are normal maps of which.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// The files that are images.
    pub(super) images: Vec<usize>,
    /// The normal map of an image.
    pub(super) maps: BTreeMap<usize, usize>,
    /// Normal maps by their names, without an image.
    pub(super) strays: Vec<usize>,
}

/// A name without its extension.
fn stem(name: &str) -> &str {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    name[file..].rfind('.').map_or(name, |dot| &name[..file + dot])
}

/// The stems that the image of a normal map of this stem may have; none if it is not called as one.
fn owners(stem: &str) -> Vec<String> {
    let mut owners: Vec<String> =
        stem.strip_suffix(ENDING).map(str::to_owned).into_iter().collect();
    let parts: Vec<&str> = stem.split('/').collect();
    for at in (0..parts.len() - 1).filter(|&at| parts[at] == FOLDERS[0]) {
        let mut parts = parts.clone();
        parts[at] = FOLDERS[1];
        owners.push(parts.join("/"));
    }
    owners
}

impl Pairs {
    /// Of the image files `images` of a store with these names. Where no image has a normal map, all are
    /// images, whatever they are called.
    pub(super) fn find(names: &[String], images: Vec<usize>) -> Self {
        let called: Vec<(usize, Vec<String>)> = images
            .iter()
            .map(|&index| (index, owners(stem(&names[index]))))
            .filter(|(_, owners)| !owners.is_empty())
            .collect();
        if called.is_empty() {
            return Self { images, ..Self::default() };
        }
        let mut by_stem: HashMap<&str, usize> = HashMap::new();
        for &index in &images {
            by_stem.entry(stem(&names[index])).or_insert(index);
        }
        let (mut maps, mut strays) = (BTreeMap::new(), Vec::new());
        for (index, owners) in called {
            let owner = owners.iter().find_map(|owner| by_stem.get(owner.as_str()));
            match owner {
                Some(&owner) if !maps.contains_key(&owner) => _ = maps.insert(owner, index),
                _ => strays.push(index),
            }
        }
        if maps.is_empty() {
            return Self { images, ..Self::default() };
        }
        let aside: std::collections::HashSet<usize> =
            maps.values().chain(&strays).copied().collect();
        let images = images.into_iter().filter(|index| !aside.contains(index)).collect();
        Self { images, maps, strays }
    }

    /// What is said of them, a sentence each.
    pub(super) fn notes(&self, names: &[String]) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.maps.is_empty() {
            let all = count(self.images.len(), "image");
            notes.push(format!("{} of {all} have a normal map", self.maps.len()));
        }
        if let Some(&first) = self.strays.first() {
            let strays = count(self.strays.len(), "normal map");
            notes.push(format!(
                "left aside: {strays} without an image (the first: {})",
                names[first]
            ));
        }
        notes
    }
}

impl Prepare {
    /// Bytes of a prepared normal map.
    #[must_use]
    pub fn normals_len(&self) -> usize {
        self.height * self.width * AXES
    }
}

impl Source {
    /// Whether all images have a normal map, by the names of files.
    ///
    /// # Errors
    /// [`Error::File`] if one has none.
    pub fn check_normals(&self) -> Result<()> {
        let fail = |what: String| Err(Error::file(self.origin(), format!("DATA {what}")));
        let lacking = |&item: &usize| self.normal_map(item).is_none();
        let first = (0..self.len()).find(lacking);
        let total = (0..self.len()).filter(lacking).count();
        match first {
            None => Ok(()),
            Some(_) if total == self.len() => fail(format!("has no normal maps: {WHAT_WORKS}")),
            Some(first) => fail(format!(
                "has {total} of {} without a normal map (the first: {}): {WHAT_WORKS}",
                count(self.len(), "image"),
                self.item_name(first)
            )),
        }
    }

    /// An image and its normal map, prepared one after the other: the bytes of both. `chance` places a
    /// random crop.
    ///
    /// # Errors
    /// The reason why one of them cannot be used, as the end of a sentence that begins with the image's
    /// name.
    pub fn with_normals(
        &self,
        item: usize,
        prepare: &Prepare,
        chance: u32,
    ) -> Result<Vec<u8>, String> {
        let map = self.normal_map(item).ok_or("has no normal map")?;
        let (size, mut bytes) = self.with_image(item, |image| {
            let size = (image.pixels.width(), image.pixels.height());
            (size, prepare.apply(image.pixels, chance))
        })?;
        let name = self.file_name(map);
        let normals = self.with_file(map, |image| normals(image.pixels, size, prepare, chance));
        let normals = normals.and_then(|normals| normals);
        bytes.extend(normals.map_err(|why| format!("has the normal map {name}, which {why}"))?);
        Ok(bytes)
    }
}

/// A normal map of an image of this size, prepared as its image.
fn normals(
    map: DynamicImage,
    size: (u32, u32),
    prepare: &Prepare,
    chance: u32,
) -> Result<Vec<u8>, String> {
    let (w, h) = (map.width(), map.height());
    if (w, h) != size {
        let (width, height) = size;
        return Err(format!("has {w} x {h} pixels, and the image {width} x {height}"));
    }
    let map = map.into_rgb8();
    let is_off = |pixel: &&image::Rgb<u8>| {
        let square: f32 = pixel.0.iter().map(|&x| (f32::from(x) / 127.5 - 1.0).powi(2)).sum();
        (square.sqrt() - 1.0).abs() > TOLERANCE
    };
    let off = map.pixels().filter(is_off).count() as f32 / (w * h).max(1) as f32;
    if off > SHARE {
        return Err(format!(
            "is none: {:.0} % of its pixels are not of length 1 (red, green and blue are 127.5 (n + 1))",
            100.0 * off
        ));
    }
    let prepare = Prepare { channels: AXES, ..prepare.clone() };
    Ok(prepare.apply(DynamicImage::ImageRgb8(map), chance))
}

/// Mirrors a prepared normal map left to right, in place, with its normals.
pub(super) fn mirror_normals(normals: &mut [u8], width: usize) {
    mirror(normals, width, AXES);
    normals.iter_mut().step_by(AXES).for_each(|x| *x = 255 - *x);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> (Vec<usize>, Vec<(usize, usize)>, Vec<usize>) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let Pairs { images, maps, strays } = Pairs::find(&names, (0..names.len()).collect());
        (images, maps.into_iter().collect(), strays)
    }

    #[test]
    fn maps_are_found_by_their_names() {
        let beside = ["a.normals.png", "a.png", "b.jpg", "b.normals.png", "c.normals.png"];
        assert_eq!(found(&beside), (vec![1, 2], vec![(1, 0), (2, 3)], vec![4]));
        let folders = ["t/images/x/a.png", "t/images/x/b.png", "t/normals/x/a.webp"];
        assert_eq!(found(&folders), (vec![0, 1], vec![(0, 2)], vec![]));
        // A class of that name is none.
        for names in [&["normals/a.png", "others/b.png"][..], &["x.y/a", "x.normals/b.png"]] {
            assert_eq!(found(names), (vec![0, 1], vec![], vec![]));
        }
    }

    #[test]
    fn a_mirrored_normal_points_the_other_way() {
        let mut map = [0, 10, 20, 255, 30, 40, 128, 50, 60, 127, 70, 80];
        mirror_normals(&mut map, 2);
        assert_eq!(map, [0, 30, 40, 255, 10, 20, 128, 70, 80, 127, 50, 60]);
    }
}
