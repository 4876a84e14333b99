//! Trainings by several processes under a launcher: without MPI refused, with it equal to one process.
//!
//! `DCGAN_TEST_MPI` names a `dcgan` with the feature `mpi`; without it the tests of MPI are skipped.

use std::path::PathBuf;

use crate::cli::{Outcome, Place, assert_same, latest, names};

/// A training whose batches have four micro-batches, of few seconds.
const TRAIN: &[&str] = &[
    "train",
    "--size",
    "16",
    "--ngf",
    "8",
    "--ndf",
    "8",
    "--nz",
    "8",
    "--batch",
    "16",
    "--micro-batch",
    "4",
    "--save-every",
    "160",
    "--device",
    "cpu",
];

/// The program with MPI, if there is one.
fn program() -> Option<String> {
    let program = std::env::var("DCGAN_TEST_MPI").ok();
    if program.is_none() {
        crate::support::skipped("no DCGAN_TEST_MPI: MPI is not tested");
    }
    program
}

/// The words after which `mpirun` starts so many processes on one machine, root's too.
fn launcher(count: &str) -> Vec<&str> {
    let settings = ["--allow-run-as-root", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1"];
    [&settings[..], &["-n", count]].concat()
}

struct Ranks<'a> {
    place: &'a Place,
    program: &'a str,
}

impl Ranks<'_> {
    fn run(&self, count: &str, words: &[&[&str]]) -> Outcome {
        let words = words.concat();
        if count == "1" {
            return self.place.run(self.program, &[&words]);
        }
        self.place.run("mpirun", &[&launcher(count), &[self.program], &words])
    }

    fn train(&self, count: &str, out: &str, words: &[&str]) -> PathBuf {
        self.run(count, &[TRAIN, &["--out", out], words]).ok();
        self.place.only_run(out)
    }
}

#[test]
fn a_launcher_without_mpi_is_refused() {
    if cfg!(feature = "mpi") {
        return;
    }
    let place = Place::new();
    for name in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"] {
        let words =
            [&["-c", &format!("{name}=4 \"$0\" \"$@\""), env!("CARGO_BIN_EXE_dcgan")], TRAIN];
        let outcome = place.run("bash", &words);
        outcome.refused(1, &["4 processes", "without MPI", "--features mpi"]);
    }
    assert!(place.runs("runs").is_empty());
}

#[test]
fn any_number_of_processes_writes_the_checkpoints_of_one() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let ranks = Ranks { place: &place, program: &program };
    let recipes: [(&str, &[&str]); 4] = [
        ("dcgan", &["--preset", "dcgan"]),
        ("wgan-gp", &["--preset", "wgan-gp"]),
        ("hinge", &["--preset", "fast"]),
        ("growing", &["--preset", "progressive", "--stage-images", "4=80,8=160,16=80"]),
    ];
    for (name, recipe) in recipes {
        let train = |count: &str| {
            let out = format!("{name}-{count}");
            ranks.train(count, &out, &[recipe, &["--images", "320"]].concat())
        };
        let one = train("1");
        for count in ["2", "4"] {
            let several = train(count);
            assert_same(&latest(&one), &latest(&several));
            assert_eq!(names(&one), names(&several), "{name} by {count}");
        }
    }
}

#[test]
fn a_training_is_resumed_by_another_number_of_processes() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let ranks = Ranks { place: &place, program: &program };
    let whole = ranks.train("1", "whole", &["--images", "480"]);
    let parts = ranks.train("4", "parts", &["--images", "160"]);
    let run = parts.to_str().unwrap();
    for (count, images) in [("2", "320"), ("1", "480")] {
        ranks.run(count, &[&["train", "--resume", run, "--images", images]]).ok();
    }
    assert_same(&latest(&whole), &latest(&parts));
}

#[test]
fn a_job_that_is_stopped_leaves_a_run_to_resume() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let ranks = Ranks { place: &place, program: &program };
    let long = [&TRAIN[..], &["--images", "1000000", "--report-every", "160", "--out", "long"]];
    let words = [&launcher("2")[..], &[&program]].concat();
    let mut job = place.start_other("mpirun", &[&words, &long.concat()]);
    let run = job.wait_for_log(&place, "long", 3);
    job.signal("INT");
    let outcome = job.end();
    assert_ne!(outcome.code, Some(0));
    assert!(outcome.stderr.contains("stopped; resume with: dcgan train --resume"), "{outcome:#?}");
    let log = std::fs::read_to_string(run.join("log.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    let seen = last["images"].as_u64().unwrap();
    let more = (seen + 32).to_string();
    ranks.run("2", &[&["train", "--resume", run.to_str().unwrap(), "--images", &more]]).ok();
    let whole = ranks.train("1", "whole", &["--images", &more]);
    assert_same(&latest(&whole), &latest(&run));
}

#[test]
fn errors_are_said_once_and_a_dead_process_ends_the_job() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let ranks = Ranks { place: &place, program: &program };
    let refused = |count: &str, words: &[&str], code: i32, said: &[&str]| {
        ranks.run(count, &[&TRAIN[..1], words, &["--device", "cpu"]]).refused(code, said);
    };
    refused("3", &["--batch", "32"], 2, &["--batch", "shared out equally", "multiple of 3"]);
    refused("2", &["nowhere"], 1, &["nowhere"]);
    refused("2", &["--preset", "bigan"], 2, &["--family", "several processes"]);
    assert!(place.runs("runs").is_empty());

    let long = [&TRAIN[..], &["--images", "1000000", "--report-every", "160", "--out", "long"]];
    let words = [&launcher("2")[..], &[&program]].concat();
    let mut job = place.start_other("mpirun", &[&words, &long.concat()]);
    let run = job.wait_for_log(&place, "long", 3);
    // The second process: the youngest child of the launcher.
    let children = format!("pkill -KILL -n -P {}", job.id());
    assert_eq!(place.run("bash", &[&["-c", &children]]).code, Some(0));
    assert_ne!(job.end().code, Some(0));
    let more = ["train", "--resume", run.to_str().unwrap(), "--images", "1000000", "--dry-run"];
    ranks.run("1", &[&more]).ok();
}
