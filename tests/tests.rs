//! The one integration binary; a module for each subject.
//!
//! | module | what it tests |
//! | --- | --- |
//! | `augment` | augmentations by their draws, and the probability that follows the discriminator |
//! | `bundle` | alike units of a GPU as one kernel: numbers and names stay as they are |
//! | `cli_dedup` | sets without their near-duplicates |
//! | `cli_conditional` | conditional models: trained, sampled by class, scored |
//! | `cli_encoder` | latents and reconstructions of images, images as points, features by an encoder |
//! | `cli_errors` | bad input: one sentence that says what would work, and nothing overwritten |
//! | `cli_evaluate` | scores of models and folders, what is kept and what is refused |
//! | `cli_family` | presets and losses of the GAN family, trained from the command line |
//! | `cli_features` | features of images |
//! | `cli_filters` | what D's filters look for, from the command line |
//! | `cli_forget` | dropped maps, from the boxes to the figure, and the page for boxes |
//! | `cli_from` | new runs from the weights of other models, and the names of runs |
//! | `cli_json` | what `--json` prints, completions and manual pages |
//! | `cli_latent` | walks, arithmetic, inversion and nearest neighbors, from the command line |
//! | `cli_models` | small files of large networks, and models of NaN, as commands meet them |
//! | `cli_page` | pages that make images or train: what they refuse, and in a real browser |
//! | `cli_process` | signals, closed and full outputs, few threads, odd names, full disks |
//! | `cli_ranks` | trainings by several processes, with MPI and without |
//! | `cli_sample` | images from runs and checkpoints |
//! | `cli_scores` | scores in training, and the best checkpoint |
//! | `cli_stackgan` | images from texts in two stages, and texts by vectors of another program |
//! | `cli_ss_gan` | SS-GAN: trained in stages on images with normal maps, stopped, sampled, refused |
//! | `cli_stages` | trainings in stages: in turn, stopped, one alone, listed |
//! | `cli_strangers` | links in a run's folder and escape codes in names, which someone else made |
//! | `cli_text` | images from texts: trained on captions, stopped, resumed, sampled, and what is refused |
//! | `cli_tools` | the commands devices, check, bench and data, as a user runs them |
//! | `cli_train` | runs on disk; stopped, killed and resumed runs give the same bits |
//! | `cli_walk` | walks between classes and along directions, truncated latents, kinds of films |
//! | `cli_watch` | logs as tables, reports in a browser, comparisons, events read by TensorBoard |
//! | `compilers` | every kernel by Tint, DXC and the validator of SPIR-V, where they are installed |
//! | `cli` | helper: the program as a user runs it |
//! | `cli_data` | sets as commands read them: parts, classes, changed images, hostile files |
//! | `data_captions` | captions: in which files they may be, and what is said of those that do not fit |
//! | `data_archives` | archives as they come, and those made to harm |
//! | `data_classes` | classes of a set, the part that is taken, by what a set is known again |
//! | `data_formats` | each image format gives the pixels that were put into it, upright |
//! | `data_loader` | batches are a function of files, seed and number; bad images are skipped |
//! | `data_mutations` | damaged files of every kind: no panic, no hang, no memory |
//! | `data_sets` | sets as other libraries write them: arrays, shards, tables, databases, and their labels |
//! | `data_normals` | normal maps: where they may be, how they follow their images, and what is refused |
//! | `data_sources` | folders, archives, IDX files and CIFAR-10 batches are found by looking |
//! | `data_tiff` | TIFF in its many kinds |
//! | `docs` | README and `docs/`: links, commands, flags, paths and names; the site made of them |
//! | `evaluation` | every score against numpy, and what it must and cannot see |
//! | `gpu` | the GPU device: programs, readback, failures, measurements |
//! | `grad` | every gradient, and its gradient, against central differences |
//! | `kernels` | helper: every kernel, rendered |
//! | `layers` | normalized weights, noise, residual networks: what is shared, what is refused |
//! | `mutate` | helper: damaged files by the thousand, read in a process with limits |
//! | `naive` | helper: tapes interpreted in 64 bits, one number at a time |
//! | `networks` | feature networks, resizing and scores of features against PyTorch's and others' |
//! | `old_models` | models and runs of version 0.1.0 are read, sampled and resumed |
//! | `ops` | every sample of every op, on every device, against that |
//! | `program` | fusion, the memory plan, feeds, states, fetches |
//! | `random_programs` | random tapes, on every device, against the interpreter |
//! | `random_steps` | random recipes: fused and not, resumed and not, on every device; proved plans |
//! | `ranks` | several processes compute what one does, bit for bit |
//! | `reference` | layers, losses and penalties against PyTorch's |
//! | `shaders` | every kernel: renders, validates, and is written for all back ends |
//! | `support` | helpers: the devices under test, naga's writers |
//! | `systems` | phases that follow one another, frozen networks, masked updates |
//! | `training` | training steps against PyTorch's |
//! | `tune` | kernels are chosen by time, kept, and what is wrong is never chosen |
//! | `wasm` | kernels as WebAssembly: every sample of every op, run by an interpreter, against its formula |
//! | `weights` | networks from PyTorch and DCGAN's authors, and for PyTorch and ONNX |
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod augment;
mod bundle;
mod cli;
mod cli_conditional;
mod cli_data;
mod cli_dedup;
mod cli_encoder;
mod cli_errors;
mod cli_evaluate;
mod cli_family;
mod cli_features;
mod cli_filters;
mod cli_forget;
mod cli_from;
mod cli_json;
mod cli_latent;
mod cli_models;
mod cli_page;
mod cli_process;
mod cli_ranks;
mod cli_sample;
mod cli_scores;
mod cli_ss_gan;
mod cli_stackgan;
mod cli_stages;
mod cli_strangers;
mod cli_text;
mod cli_tools;
mod cli_train;
mod cli_walk;
mod cli_watch;
mod compilers;
mod data_archives;
mod data_captions;
mod data_classes;
mod data_formats;
mod data_loader;
mod data_mutations;
mod data_normals;
mod data_sets;
mod data_sources;
mod data_tiff;
mod docs;
mod evaluation;
mod gpu;
mod grad;
mod kernels;
mod layers;
mod mutate;
mod naive;
mod networks;
mod old_models;
mod ops;
mod precision;
mod program;
mod random_programs;
mod random_steps;
mod ranks;
mod reference;
mod shaders;
mod support;
mod systems;
mod training;
mod tune;
mod wasm;
mod weights;
