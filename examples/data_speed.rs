//! How fast a set is read: `cargo run --release --example data_speed -- [DATA [WORKERS [OUT.png]]]`
//! (`-` is the bundled set).
//!
//! Prints what the set is like, then the time to the first batch, and the images per second of an
//! epoch that decodes everything and of one that reads everything from memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dcgan::data::{CacheMode, Loader, LoaderOptions, Prepare, Source, contact_sheet, survey};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let data = args.next().filter(|data| data != "-").map(PathBuf::from);
    let workers = args.next().map_or(Ok(2), |n| n.parse())?;
    let start = Instant::now();
    let source = Arc::new(Source::open(data.as_deref())?);
    println!("opened in {:.3} s", start.elapsed().as_secs_f64());
    let prepare = Prepare { flip: true, ..Prepare::default() };
    print!("{}", survey(&source, &prepare, &|| ())?);
    if let Some(out) = args.next() {
        contact_sheet(&source, &prepare, 64, 1)?.save(out)?;
    }
    for cache in [CacheMode::Off, CacheMode::Auto] {
        let options = LoaderOptions { workers, cache, look: Duration::ZERO, ..Default::default() };
        let start = Instant::now();
        let mut loader = Loader::start(Arc::clone(&source), prepare.clone(), &options, 0)?;
        loader.next_batch()?;
        println!("cache {cache}: first batch in {:.3} s", start.elapsed().as_secs_f64());
        let batches = loader.batches_per_epoch();
        for epoch in 0..2 {
            let start = Instant::now();
            (0..batches).try_for_each(|_| loader.next_batch().map(drop))?;
            let images = (batches * options.batch as u64) as f64;
            let rate = images / start.elapsed().as_secs_f64();
            println!("cache {cache}, epoch {epoch}: {rate:.0} images/s");
        }
    }
    Ok(())
}
