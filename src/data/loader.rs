//! Batches, decoded ahead on threads.
//!
//! Worker w of W makes batches w, w + W, w + 2W and so on, each from start to end, and hands them
//! over through a channel of its own that holds two. Nothing has to be put back in order, and what
//! is made does not depend on W.
//!
//! **Unreadable images.** Not all can be known before the first epoch has passed: a large set
//! cannot be decoded up front. So the rule does not depend on when one is found: where the epoch's
//! order comes to an unreadable image, the next readable one in that order (from its end on to
//! its start) stands in for it. A batch is thereby a function of the files, the seed and its index,
//! however many workers there are, whatever is cached and wherever a run resumed. Before the first
//! batch the set is looked through for a short while ([`LoaderOptions::look`]), which decodes a
//! small set in full, fills the cache and finds a bad set out at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::captions::Captions;
use super::messages::count;
use super::normals::mirror_normals;
use super::order::Order;
use super::prepare::{Crop, Prepare, mirror};
use super::source::Source;
use crate::config::named;
use crate::error::{Error, Result};
use crate::files;

/// Images drawn for a caption that is wrong for them, while those drawn are unreadable.
const COMPANION_DRAWS: usize = 16;

/// Finished batches that wait behind each worker.
const AHEAD: usize = 2;

/// Whether prepared images stay in memory after their first use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum CacheMode {
    /// As many as the cache's budget holds; none where crops are random.
    #[default]
    Auto,
    /// All, whatever they need.
    On,
    /// None: every image is decoded each time.
    Off,
}
named!(CacheMode);

/// How batches are made.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// Images in a batch.
    pub batch: usize,
    /// Where the images that are made stand in it; all by default.
    pub places: Option<Vec<usize>>,
    /// The run's seed: decides the order, the flips and the random crops.
    pub seed: u64,
    /// Decoding threads.
    pub workers: usize,
    /// What stays in memory.
    pub cache: CacheMode,
    /// Bytes that [`CacheMode::Auto`] may keep.
    pub cache_bytes: u64,
    /// Maximum time for scanning the set before the first batch.
    pub look: Duration,
    /// Captions, one of which is drawn for every image, if wanted.
    pub captions: Option<Arc<Captions>>,
    /// With captions, whether each image comes with another that its caption is wrong for.
    pub companions: bool,
    /// Whether each image comes with its normal map.
    pub normals: bool,
}

impl Default for LoaderOptions {
    /// Batches of 64 under seed 0, a worker a core (8 at most), 1 GiB of cache, 2 s of looking.
    fn default() -> Self {
        Self {
            batch: 64,
            places: None,
            seed: 0,
            workers: thread::available_parallelism().map_or(1, usize::from).min(8),
            cache: CacheMode::Auto,
            cache_bytes: 1 << 30,
            look: Duration::from_secs(2),
            captions: None,
            companions: false,
            normals: false,
        }
    }
}

/// One batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `[n, h, w, c]`, as [`Prepare`] has them.
    pub images: Vec<u8>,
    /// The class of each, where the source has classes.
    pub labels: Option<Vec<u32>>,
    /// The index of each in the source.
    pub items: Vec<u32>,
    /// With [`LoaderOptions::captions`], the number of each image's caption among its captions.
    pub captions: Option<Vec<u32>>,
    /// With [`LoaderOptions::companions`], for each image another that its caption is wrong for.
    pub companions: Option<Vec<u8>>,
    /// With [`LoaderOptions::normals`], their normal maps `[n, h, w, 3]`.
    pub normals: Option<Vec<u8>>,
    /// Number of complete passes over the set before.
    pub epoch: u64,
    /// The batch's number, counted from the start of the run.
    pub index: u64,
}

/// An image that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where it lies in the set.
    pub name: String,
    /// Why, as the end of a sentence that begins with the name.
    pub reason: String,
}

impl std::fmt::Display for Skipped {
    /// On one line, whatever the name holds.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.name.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        write!(f, ": {}", self.reason)
    }
}

/// Whether `bad` unreadable images of `len` exceed the limit for training: a tenth.
pub(super) fn is_too_many(bad: usize, len: usize) -> bool {
    bad * 10 > len
}

/// Writes skipped images to a text file, one a line.
///
/// # Errors
/// [`Error::File`] where it cannot be written.
pub fn write_skipped(path: &Path, skipped: &[Skipped]) -> Result<()> {
    let text: String = skipped.iter().map(|s| format!("{s}\n")).collect();
    files::write_bytes(path, text.as_bytes())
}

/// An endless stream of batches. Dropping it ends its threads.
#[derive(Debug)]
pub struct Loader {
    pool: Arc<Pool>,
    receivers: Vec<Receiver<Result<Batch>>>,
    workers: Vec<JoinHandle<()>>,
    next: usize,
}

impl Loader {
    /// Starts making batches from number `position` on, counted from the start of the run.
    ///
    /// # Errors
    /// [`Error::Config`] for options that cannot work, [`Error::File`] where the set has fewer
    /// readable images than a batch, or more than a tenth of it is unreadable; both as far as the
    /// scan shows.
    pub fn start(
        source: Arc<Source>,
        prepare: Prepare,
        options: &LoaderOptions,
        position: u64,
    ) -> Result<Self> {
        prepare.check()?;
        let pool = Arc::new(Pool::new(source, prepare, options)?);
        let count = options.workers.max(1);
        pool.look(count, options.look)?;
        let mut loader = Self { pool, receivers: Vec::new(), workers: Vec::new(), next: 0 };
        let mut starts = Vec::new();
        for worker in 0..count {
            let (sender, receiver) = sync_channel(AHEAD);
            let (start, begin) = sync_channel::<u64>(1);
            let pool = Arc::clone(&loader.pool);
            let work = move || {
                // Their number is known once all that can start have started.
                let Ok(count) = begin.recv() else { return };
                let mut order = (u64::MAX, Vec::new());
                let mut index = position + worker as u64;
                loop {
                    let batch = pool.batch(index, &mut order);
                    let last = batch.is_err();
                    // The receiver is gone when the loader is dropped.
                    if sender.send(batch).is_err() || last {
                        return;
                    }
                    index += count;
                }
            };
            match thread::Builder::new().name(format!("loader {worker}")).spawn(work) {
                Ok(handle) => {
                    starts.push(start);
                    loader.receivers.push(receiver);
                    loader.workers.push(handle);
                }
                // Fewer make the same batches.
                Err(_) if worker > 0 => break,
                Err(e) => {
                    let what = format!("a thread that loads images {}", files::cannot("start", &e));
                    return Err(Error::Device(what));
                }
            }
        }
        for start in &starts {
            // If sending fails, the worker has panicked: noticed when its batch is awaited.
            let _ = start.send(starts.len() as u64);
        }
        Ok(loader)
    }

    /// The next batch; waits until it is ready.
    ///
    /// # Errors
    /// [`Error::File`] when too many images have turned out to be unreadable. There are no batches
    /// after an error.
    pub fn next_batch(&mut self) -> Result<Batch> {
        let receiver = &self.receivers[self.next];
        self.next = (self.next + 1) % self.receivers.len();
        receiver.recv().unwrap_or_else(|_| {
            Err(Error::file(self.pool.source.origin(), "reading it ended with an earlier error"))
        })
    }

    /// Batches in an epoch.
    #[must_use]
    pub fn batches_per_epoch(&self) -> u64 {
        self.pool.order.batches()
    }

    /// The unreadable images found so far, in the order of the source.
    #[must_use]
    pub fn skipped(&self) -> Vec<Skipped> {
        self.pool.skipped().values().cloned().collect()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.pool.stop.store(true, Ordering::Relaxed);
        self.receivers.clear();
        for worker in self.workers.drain(..) {
            // A worker's panic was printed when it happened, and a drop must not panic again.
            let _ = worker.join();
        }
    }
}

/// What is known of an image.
#[derive(Debug)]
enum Slot {
    Prepared(Box<[u8]>),
    Unreadable,
}

/// What the workers share.
#[derive(Debug)]
struct Pool {
    source: Arc<Source>,
    prepare: Prepare,
    order: Order,
    /// The places of a batch whose images are made.
    places: Vec<usize>,
    /// Images below this index stay in memory.
    cached: usize,
    captions: Option<Arc<Captions>>,
    companions: bool,
    normals: bool,
    slots: Vec<OnceLock<Slot>>,
    skipped: Mutex<BTreeMap<usize, Skipped>>,
    stop: AtomicBool,
}

impl Pool {
    fn new(source: Arc<Source>, prepare: Prepare, options: &LoaderOptions) -> Result<Self> {
        let len = source.len();
        if options.batch == 0 {
            return Err(Error::config("batch", "a batch needs at least one image"));
        }
        if options.batch > len {
            return Err(Error::file(
                source.origin(),
                format!(
                    "DATA has {}, fewer than one batch of {}; give {}more images",
                    count(len, "image"),
                    options.batch,
                    // Batch norm needs two.
                    if len < 2 { String::new() } else { format!("`batch` {len}, or ") }
                ),
            ));
        }
        let of_normals = if options.normals { prepare.normals_len() } else { 0 };
        let cached = match (options.cache, prepare.crop) {
            (CacheMode::On, Crop::Random) => {
                return Err(Error::config(
                    "cache",
                    "on does not work with `crop` random, which crops every image again each \
                     epoch; leave it at auto",
                ));
            }
            (CacheMode::Off, _) | (CacheMode::Auto, Crop::Random) => 0,
            (CacheMode::On, _) => len,
            (CacheMode::Auto, _) => {
                let fit = options.cache_bytes / (prepare.len() + of_normals) as u64;
                usize::try_from(fit).unwrap_or(usize::MAX).min(len)
            }
        };
        Ok(Self {
            order: Order { seed: options.seed, count: len, batch: options.batch },
            places: options.places.clone().unwrap_or_else(|| (0..options.batch).collect()),
            source,
            prepare,
            cached,
            captions: options.captions.clone(),
            companions: options.companions,
            normals: options.normals,
            slots: std::iter::repeat_with(OnceLock::new).take(len).collect(),
            skipped: Mutex::default(),
            stop: AtomicBool::new(false),
        })
    }

    /// Decodes the set from its start, on `workers` threads, until all is known or time is up.
    fn look(&self, workers: usize, time: Duration) -> Result<()> {
        let start = Instant::now();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut scratch = Vec::new();
            while start.elapsed() < time && self.verdict().is_ok() {
                let item = next.fetch_add(1, Ordering::Relaxed);
                if item >= self.order.count {
                    break;
                }
                scratch.clear();
                self.fetch(item, 0, &mut scratch);
            }
        };
        thread::scope(|scope| {
            for _ in 1..workers {
                // If no more threads can be started, the existing ones do all the work.
                if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        self.verdict()
    }

    /// Appends the prepared image to `out`, and its normal map if that is wanted; false where it is unreadable.
    fn fetch(&self, item: usize, epoch: u64, out: &mut Vec<u8>) -> bool {
        let slot = &self.slots[item];
        if item < self.cached {
            let make = || match self.make(item, epoch) {
                Ok(bytes) => Slot::Prepared(bytes.into()),
                Err(reason) => self.skip(item, reason),
            };
            return match slot.get_or_init(make) {
                Slot::Prepared(bytes) => {
                    out.extend_from_slice(bytes);
                    true
                }
                Slot::Unreadable => false,
            };
        }
        // Here a slot is filled only where the image is unreadable.
        if slot.get().is_some() {
            return false;
        }
        match self.make(item, epoch) {
            Ok(bytes) => {
                out.extend_from_slice(&bytes);
                true
            }
            Err(reason) => {
                slot.get_or_init(|| self.skip(item, reason));
                false
            }
        }
    }

    fn make(&self, item: usize, epoch: u64) -> Result<Vec<u8>, String> {
        let chance = self.order.crop_chance(epoch, item as u32);
        if self.normals {
            return self.source.with_normals(item, &self.prepare, chance);
        }
        self.source.with_image(item, |image| self.prepare.apply(image.pixels, chance))
    }

    fn skip(&self, item: usize, reason: String) -> Slot {
        let name = self.source.item_name(item);
        self.skipped().insert(item, Skipped { name, reason });
        Slot::Unreadable
    }

    fn skipped(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, Skipped>> {
        // A map with one entry more or less is whole either way.
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails if too many images are unreadable.
    fn verdict(&self) -> Result<()> {
        let skipped = self.skipped();
        let (len, bad) = (self.order.count, skipped.len());
        let example = || skipped.values().next().map_or(String::new(), ToString::to_string);
        if is_too_many(bad, len) {
            return Err(Error::file(
                self.source.origin(),
                format!(
                    "{bad} or more of the {} in DATA are unreadable, which is more than a tenth; \
                     replace or remove them (the first: {})",
                    count(len, "image"),
                    example()
                ),
            ));
        }
        if len - bad < self.order.batch {
            return Err(Error::file(
                self.source.origin(),
                format!(
                    "DATA has {} and {bad} unreadable, fewer than one batch of {}; give a smaller \
                     `batch` or more images (the first unreadable: {})",
                    count(len - bad, "readable image"),
                    self.order.batch,
                    example()
                ),
            ));
        }
        Ok(())
    }

    /// Makes a batch. `order` keeps the order of the epoch last used.
    fn batch(&self, index: u64, order: &mut (u64, Vec<u32>)) -> Result<Batch> {
        let (epoch, start) = self.order.place(index);
        if order.0 != epoch {
            *order = (epoch, self.order.shuffled(epoch));
        }
        let size = self.prepare.len();
        let mut images = Vec::with_capacity(self.places.len() * size);
        let mut normals = Vec::new();
        let mut items = Vec::with_capacity(self.places.len());
        for place in &self.places {
            let mut at = start + place;
            let item = loop {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(Error::file(self.source.origin(), "reading it was stopped"));
                }
                let item = order.1[at % self.order.count];
                if self.fetch(item as usize, epoch, &mut images) {
                    break item;
                }
                // Ends the search too: it fails long before every image has.
                self.verdict()?;
                at += 1;
            };
            let map = normals.len();
            normals.extend(images.drain((items.len() + 1) * size..));
            if self.prepare.flip && self.order.is_flipped(epoch, item) {
                let image = images.len() - size;
                mirror(&mut images[image..], self.prepare.width, self.prepare.channels);
                mirror_normals(&mut normals[map..], self.prepare.width);
            }
            items.push(item);
        }
        let labels = self.source.labels();
        let labels = labels.map(|labels| items.iter().map(|&i| labels[i as usize]).collect());
        let (captions, companions) = match &self.captions {
            None => (None, None),
            Some(captions) => {
                let choose = |&item: &u32| {
                    captions.choose(item as usize, self.order.caption_chance(epoch, item)) as u32
                };
                let chosen: Vec<u32> = items.iter().map(choose).collect();
                let companions = match self.companions {
                    true => Some(self.wrong_images(captions, &items, &chosen, epoch)?),
                    false => None,
                };
                (Some(chosen), companions)
            }
        };
        let normals = self.normals.then_some(normals);
        Ok(Batch { images, labels, items, captions, companions, normals, epoch, index })
    }

    /// For each of `items` with its caption, an image that the caption is wrong for.
    fn wrong_images(
        &self,
        captions: &Captions,
        items: &[u32],
        chosen: &[u32],
        epoch: u64,
    ) -> Result<Vec<u8>> {
        let size = self.prepare.len();
        let mut images = Vec::with_capacity(items.len() * size);
        for (&item, &caption) in items.iter().zip(chosen) {
            let mut stream = self.order.companion(epoch, item);
            let mut tries = 0;
            loop {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(Error::file(self.source.origin(), "reading it was stopped"));
                }
                // All that the caption is wrong for may be unreadable.
                let other = match tries {
                    0..COMPANION_DRAWS => {
                        captions.draw_wrong(item as usize, caption as usize, &mut stream)
                    }
                    _ => (item as usize + tries) % self.order.count,
                };
                let before = images.len();
                if self.fetch(other, epoch, &mut images) {
                    images.truncate(before + size);
                    break;
                }
                self.verdict()?;
                tries += 1;
            }
            // As often as the others, so that this does not tell them apart.
            if self.prepare.flip && stream.next_u32() >> 31 == 1 {
                let image = images.len() - size;
                mirror(&mut images[image..], self.prepare.width, self.prepare.channels);
            }
        }
        Ok(images)
    }
}
