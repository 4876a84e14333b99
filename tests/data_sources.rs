//! Folders, archives, IDX files and CIFAR-10 batches are found by looking, and what is none of them
//! gets an error that says what would work.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use dcgan::data::{Kind, Part, Prepare, Source, survey};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use tempfile::tempdir;

use crate::data_formats::encode;

/// A PNG of one color: its red tells which image it is.
pub(crate) fn flat(red: u8) -> Vec<u8> {
    encode(&RgbImage::from_pixel(4, 4, Rgb([red, 0, 0])).into(), ImageFormat::Png)
}

pub(crate) fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

pub(crate) fn open(path: &Path) -> Source {
    Source::open(Some(path)).unwrap()
}

fn error(path: &Path) -> String {
    let error = Source::open(Some(path)).unwrap_err().to_string();
    assert!(error.starts_with(&path.display().to_string()) && error.contains("DATA"), "{error}");
    assert!(!error.contains('\n'), "{error}");
    error
}

pub(crate) fn names(source: &Source) -> Vec<String> {
    (0..source.len()).map(|i| source.item_name(i)).collect()
}

/// The first pixel of an image.
pub(crate) fn corner(source: &Source, item: usize) -> [u8; 3] {
    source.image(item).unwrap().pixels.into_rgb8().get_pixel(0, 0).0
}

#[test]
fn the_bundled_set_is_whole() {
    let source = Source::open(None).unwrap();
    assert_eq!((source.kind(), source.len(), source.name()), (Kind::Bundled, 3000, "avatars"));
    assert_eq!(source.labels(), None);
    assert_eq!(source.description(), "bundled set, 3,000 images");
    let report = survey(&source, &Prepare::default(), &|| ()).unwrap();
    assert_eq!(
        (report.skipped.as_slice(), report.sizes.as_slice()),
        (&[][..], &[((64, 64), 3000)][..])
    );
    assert_eq!((report.enlarged, report.reshaped), (0, 0));
}

#[test]
fn folders_are_searched_at_any_depth_without_litter() {
    let data = tempdir().unwrap();
    let root = data.path();
    for (name, red) in [("b.png", 2), ("deep/er/and/a.PNG", 3), ("a.png", 1), ("no-extension", 4)] {
        put(root, name, &flat(red));
    }
    for name in ["README.txt", "notes", ".DS_Store", "Thumbs.db", "__MACOSX/x.png", ".hidden/y.png"]
    {
        put(root, name, b"BM, a word that begins like a bitmap, and more text");
    }
    put(root, "._b.png", b"resource fork");
    let source = open(root);
    assert_eq!(names(&source), ["a.png", "b.png", "deep/er/and/a.PNG", "no-extension"]);
    assert_eq!((0..4).map(|i| corner(&source, i)[0]).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!((source.kind(), source.labels()), (Kind::Folder, None));
    assert_eq!(source.description(), "folder, 4 images");
    let report = survey(&source, &Prepare::default(), &|| ()).unwrap();
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
}

#[test]
fn runs_below_a_folder_are_none_of_its_images() {
    let data = tempdir().unwrap();
    put(data.path(), "a.png", &flat(1));
    for name in ["options.json", "lock", "reals.png"] {
        put(data.path(), &format!("runs/00000-x/{name}"), &flat(2));
    }
    // Options alone are no run.
    put(data.path(), "b/options.json", b"{}");
    put(data.path(), "b/c.png", &flat(3));
    assert_eq!(names(&open(data.path())), ["a.png", "b/c.png"]);
    let said = error(&data.path().join("runs/00000-x"));
    assert!(said.contains("is a run") && said.contains("--resume"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_link_in_a_circle_ends() {
    let data = tempdir().unwrap();
    put(data.path(), "in/a.png", &flat(1));
    std::os::unix::fs::symlink("..", data.path().join("in/up")).unwrap();
    std::os::unix::fs::symlink("nowhere", data.path().join("in/gone.png")).unwrap();
    let source = open(data.path());
    assert_eq!(names(&source), ["in/a.png", "in/gone.png"]);
    assert!(source.image(1).is_err());
}

#[test]
fn sub_folders_are_classes() {
    let data = tempdir().unwrap();
    for (name, red) in [("train/dog/1.png", 1), ("train/cat/1.png", 2), ("test/dog/1.png", 3)] {
        put(data.path(), name, &flat(red));
    }
    let source = Source::open_part(Some(data.path()), Part::All).unwrap();
    assert_eq!(source.classes(), ["cat", "dog"]);
    // In the order of the names: test/dog, train/cat, train/dog.
    assert_eq!(source.labels().unwrap(), [1, 0, 1]);
    assert_eq!(source.description(), "folder, 3 images, 2 classes");
    let report = survey(&source, &Prepare::default(), &|| ()).unwrap();
    assert_eq!(report.labels, [("cat".into(), 1), ("dog".into(), 2)]);

    let part = |part| Source::open_part(Some(data.path()), part).unwrap();
    assert_eq!(names(&part(Part::Train)), ["train/cat/1.png", "train/dog/1.png"]);
    assert_eq!(names(&part(Part::Test)), ["test/dog/1.png"]);
    assert_eq!(part(Part::Test).labels(), None, "one class is none");
    let none = Source::open_part(Some(&data.path().join("test")), Part::Train).unwrap_err();
    assert!(none.to_string().contains("no train part"), "{none}");

    // One image outside of all folders: no classes, unless it is of no part.
    put(data.path(), "0.png", &flat(9));
    assert_eq!(open(data.path()).classes(), ["cat", "dog"]);
    let all = Source::open_part(Some(data.path()), Part::All).unwrap();
    assert_eq!(all.labels(), None);
    assert!(all.why_no_classes().contains("1 image outside of class folders"), "{all:?}");
}

pub(crate) fn zip(path: &Path, stored: bool, files: &[(&str, &[u8])]) {
    let objective =
        if stored { zip::CompressionMethod::Stored } else { zip::CompressionMethod::Deflated };
    let options = zip::write::SimpleFileOptions::default().compression_method(objective);
    let mut writer = zip::ZipWriter::new(fs::File::create(path).unwrap());
    for (name, bytes) in files {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn zips_are_read_stored_and_deflated() {
    let data = tempdir().unwrap();
    // Larger than what is read ahead, and not compressible to nothing.
    let large =
        RgbImage::from_fn(100, 100, |x, y| Rgb([((x * 7) ^ (y * 13)) as u8, (x * y) as u8, 7]));
    let large = encode(&large.into(), ImageFormat::Bmp);
    let (red, blue) = (flat(1), flat(2));
    for stored in [true, false] {
        let path = data.path().join(format!("my set {stored}.zip"));
        zip(
            &path,
            stored,
            &[
                ("b/2.png", &blue),
                ("__MACOSX/b/._2.png", b"litter"),
                ("readme", b"text"),
                ("a/1.png", &red),
                ("a/large.bmp", &large),
            ],
        );
        let source = open(&path);
        assert_eq!(source.kind(), Kind::Zip);
        assert_eq!(source.name(), format!("my-set-{stored}"));
        assert_eq!(names(&source), ["a/1.png", "a/large.bmp", "b/2.png"]);
        assert_eq!((corner(&source, 0)[0], corner(&source, 2)[0]), (1, 2));
        let decoded = source.image(1).unwrap().pixels;
        assert_eq!(encode(&decoded, ImageFormat::Bmp), large);
        assert_eq!(source.labels().unwrap(), [0, 0, 1]);
    }
}

#[test]
fn a_damaged_zip_says_so_and_a_damaged_entry_is_one_bad_image() {
    let data = tempdir().unwrap();
    let path = data.path().join("a.zip");
    zip(&path, true, &[("1.png", &flat(1)), ("2.png", &flat(2))]);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|w| w == b"IDAT").unwrap();
    bytes[at + 6] ^= 0xff;
    fs::write(&path, &bytes).unwrap();
    let source = open(&path);
    assert!(source.image(0).is_err());
    assert_eq!(corner(&source, 1)[0], 2);

    fs::write(&path, &bytes[..bytes.len() - 40]).unwrap();
    assert!(error(&path).contains("cannot be read as one"));
}

#[test]
fn an_entry_that_unpacks_to_no_end_is_cut_off() {
    let data = tempdir().unwrap();
    let path = data.path().join("a.zip");
    let mut bomb = flat(1);
    bomb.resize((256 << 20) + 1, 0);
    zip(&path, false, &[("1.png", &bomb)]);
    let reason = open(&path).image(0).unwrap_err();
    assert!(reason.contains("larger than 256 MiB"), "{reason}");
}

pub(crate) fn idx(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 8, sizes.len() as u8];
    out.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    out.extend(bytes);
    out
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn idx_files_are_found_in_a_folder_and_by_name() {
    let pixels: Vec<u8> = (0..3 * 2 * 2).collect();
    let images = idx(&[3, 2, 2], &pixels);
    let labels = idx(&[3], &[4, 0, 7]);
    let test = idx(&[1, 2, 2], &[9; 4]);
    for zipped in [false, true] {
        let data = tempdir().unwrap();
        let extension = if zipped { ".gz" } else { "" };
        let pack = |bytes: &[u8]| if zipped { gzip(bytes) } else { bytes.to_vec() };
        let file = |stem: &str| format!("MNIST/raw/{stem}-ubyte{extension}");
        put(data.path(), &file("train-images-idx3"), &pack(&images));
        put(data.path(), &file("train-labels-idx1"), &pack(&labels));
        put(data.path(), &file("t10k-images-idx3"), &pack(&test));
        let named = data.path().join(file("train-images-idx3"));
        for path in [data.path(), &named] {
            let source = open(path);
            assert_eq!((source.kind(), source.len()), (Kind::Idx, 3));
            // Only labels that occur are classes.
            assert_eq!(source.labels().unwrap(), [1, 0, 2]);
            assert_eq!(source.classes(), ["0", "4", "7"]);
            let image = source.image(1).unwrap().pixels;
            assert_eq!(
                image,
                DynamicImage::ImageLuma8(
                    image::GrayImage::from_raw(2, 2, vec![4, 5, 6, 7]).unwrap()
                )
            );
            assert!(source.item_name(2).ends_with(&format!("-ubyte{extension}[2]")));
        }
        assert_eq!(open(&named).name(), "train-images-idx3-ubyte");
        // The test part: there without labels.
        for source in [
            open(&data.path().join(file("t10k-images-idx3"))),
            Source::open_part(Some(data.path()), Part::Test).unwrap(),
        ] {
            assert_eq!((source.len(), source.labels()), (1, None));
            assert_eq!(corner(&source, 0), [9; 3]);
        }
    }
}

#[test]
fn damaged_idx_files_say_what_is_wrong() {
    let data = tempdir().unwrap();
    let path = data.path().join("train-images-idx3-ubyte");
    let labels = data.path().join("train-labels-idx1-ubyte");
    let fail = || Source::open(Some(data.path())).unwrap_err().to_string();

    fs::write(&path, idx(&[3, 2, 2], &[0; 11])).unwrap();
    assert!(fail().contains("11 of the 12 bytes"), "{}", fail());
    fs::write(&path, idx(&[u32::MAX, u32::MAX, 2], &[0; 11])).unwrap();
    assert!(fail().contains("claims to hold"), "{}", fail());
    fs::write(&path, idx(&[3, 2, 2], &[0; 12])).unwrap();
    fs::write(&labels, idx(&[2], &[0; 2])).unwrap();
    assert!(fail().contains("[2] labels for 3 images"), "{}", fail());
    let named = Source::open(Some(&labels)).unwrap_err().to_string();
    assert!(named.contains("not of images"), "{named}");

    put(data.path(), "letters-images-idx3-ubyte", &idx(&[1, 2, 2], &[0; 4]));
    assert!(fail().contains("several IDX sets"), "{}", fail());
}

/// More than the header promises: a set of which most would be left out without a word.
#[test]
fn idx_files_hold_what_their_headers_promise_and_no_more() {
    let data = tempdir().unwrap();
    let more = idx(&[3, 2, 2], &[0; 13]);
    let files = [
        ("train-images-idx3-ubyte", more.clone()),
        ("train-images-idx3-ubyte.gz", gzip(&more)),
        ("train-images-idx3-ubyte.gz", [gzip(&more[..28]), gzip(&[0; 9])].concat()),
    ];
    for (name, bytes) in files {
        let path = data.path().join(name);
        fs::write(&path, bytes).unwrap();
        let text = Source::open(Some(&path)).unwrap_err().to_string();
        assert!(text.contains("more than the 12 bytes that its header promises"), "{text}");
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn idx_files_of_other_numbers_than_bytes_are_named() {
    let data = tempdir().unwrap();
    for (kind, numbers) in [
        (0x09, "signed bytes"),
        (0x0b, "16-bit"),
        (0x0c, "32-bit"),
        (0x0d, "floats"),
        (0x0e, "doubles"),
    ] {
        let mut bytes = idx(&[3, 2, 2], &[0; 96]);
        bytes[2] = kind;
        for bytes in [bytes.clone(), gzip(&bytes)] {
            put(data.path(), "x-images-idx3", &bytes);
            for path in [data.path().to_owned(), data.path().join("x-images-idx3")] {
                let text = error(&path);
                assert!(text.contains("IDX file of ") && text.contains(numbers), "{text}");
            }
        }
    }
}

/// What lies beside a packed set and is not part of it is said.
#[test]
fn what_is_left_beside_idx_files_is_said() {
    let data = tempdir().unwrap();
    put(data.path(), "x.idx", &idx(&[3, 2, 2], &[0; 12]));
    assert_eq!(open(data.path()).notes(), [""; 0]);
    put(data.path(), "y.idx", &idx(&[3], &[0, 1, 2]));
    put(data.path(), "a.png", &flat(1));
    put(data.path(), "b.png", &flat(1));
    let source = open(data.path());
    assert_eq!((source.len(), source.labels()), (3, None));
    let notes = source.notes().join("\n");
    assert!(notes.contains("no classes: y.idx is not called as the labels of x.idx"), "{notes}");
    assert!(notes.contains("left aside: 2 images (the first: a.png)"), "{notes}");
    assert!(source.why_no_classes().contains("y.idx"), "{}", source.why_no_classes());
}

/// A pipe is read by nobody: it would be waited for without end.
#[cfg(unix)]
#[test]
fn what_is_no_file_and_no_folder_is_refused_at_once() {
    let data = tempdir().unwrap();
    let pipe = data.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    for path in [pipe.as_path(), Path::new("/dev/zero")] {
        let (sender, ends) = std::sync::mpsc::channel();
        let opened = path.to_owned();
        // In a thread, as one that waits cannot be stopped.
        std::thread::spawn(move || sender.send(error(&opened)));
        let text = ends.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
        assert!(text.contains("neither a file nor a folder"), "{text}");
    }
}

/// Records whose pixels are (label, 100 + label, 200 + label), but for the first, which is `first`.
fn batch(labels: &[u8], first: u8) -> Vec<u8> {
    let mut out = Vec::new();
    for &label in labels {
        out.push(label);
        for plane in 0..3 {
            out.push(first + plane);
            out.extend([plane * 100 + label; 1023]);
        }
    }
    out
}

fn check_cifar(source: &Source, batches: usize) {
    assert_eq!((source.kind(), source.len()), (Kind::Cifar10, 2 * batches));
    assert_eq!(source.labels().unwrap()[..2], [0, 1]);
    assert_eq!(source.classes(), ["cat", "truck"]);
    let image = source.image(1).unwrap().pixels.into_rgb8();
    assert_eq!(image.dimensions(), (32, 32));
    assert_eq!(image.get_pixel(0, 0).0, [50, 51, 52]);
    assert_eq!(image.get_pixel(31, 31).0, [9, 109, 209]);
}

#[test]
fn cifar_10_is_found_in_a_folder_a_tar_and_by_name() {
    let files: Vec<_> = (1..=2)
        .map(|i| (format!("cifar-10-batches-bin/data_batch_{i}.bin"), batch(&[3, 9], 50)))
        .chain([("cifar-10-batches-bin/test_batch.bin".into(), batch(&[7], 60))])
        .chain([("cifar-10-batches-bin/batches.meta.txt".into(), b"airplane\n".to_vec())])
        .collect();
    let data = tempdir().unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in &files {
        put(data.path(), &format!("folder/{name}"), bytes);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, Cursor::new(bytes)).unwrap();
    }
    let tar = builder.into_inner().unwrap();
    put(data.path(), "cifar.tar", &tar);
    put(data.path(), "cifar-10-binary.tar.gz", &gzip(&tar));

    for name in ["folder", "folder/cifar-10-batches-bin", "cifar.tar", "cifar-10-binary.tar.gz"] {
        let path = data.path().join(name);
        check_cifar(&open(&path), 2);
        let test = Source::open_part(Some(&path), Part::Test).unwrap();
        assert_eq!((test.len(), test.labels().unwrap()), (1, &[0][..]), "{name}");
        assert_eq!(test.classes(), ["horse"], "{name}");
        assert_eq!(corner(&test, 0), [60, 61, 62]);
    }
    let bin = data.path().join("folder/cifar-10-batches-bin");
    check_cifar(&open(&bin.join("data_batch_2.bin")), 1);
    assert_eq!(open(&bin.join("test_batch.bin")).classes(), ["horse"]);
    assert_eq!(open(&data.path().join("cifar-10-binary.tar.gz")).name(), "cifar-10-binary");

    put(&bin, "data_batch_2.bin", &batch(&[3, 9], 50)[..3073 + 3000]);
    let error = Source::open(Some(&bin)).unwrap_err().to_string();
    assert!(error.contains("data_batch_2.bin has 6073 bytes"), "{error}");
    put(&bin, "data_batch_2.bin", &batch(&[3, 10], 50));
    let error = Source::open(Some(&bin)).unwrap_err().to_string();
    assert!(error.contains("label 10"), "{error}");
}

#[test]
fn a_tar_of_images_is_read() {
    let data = tempdir().unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    for (name, red) in [("./y/2.png", 2), ("./x/1.png", 1)] {
        let bytes = flat(red);
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, Cursor::new(bytes)).unwrap();
    }
    put(data.path(), "a.tgz", &gzip(&builder.into_inner().unwrap()));
    let source = open(&data.path().join("a.tgz"));
    assert_eq!((source.kind(), source.name()), (Kind::Tar, "a"));
    assert_eq!(names(&source), ["x/1.png", "y/2.png"]);
    assert_eq!((corner(&source, 1)[0], source.labels().unwrap()), (2, &[0, 1][..]));
}

#[test]
fn what_is_no_data_says_what_would_work() {
    let data = tempdir().unwrap();
    let root = data.path();
    let works = "give a folder, zip or tar of images";
    let says = |name: &str, what: &str| {
        let error = error(&root.join(name));
        assert!(error.contains(what), "{name}: {error}");
    };
    says("missing", "DATA does not exist; give a folder");
    fs::create_dir(root.join("empty")).unwrap();
    says("empty", "DATA is an empty folder; give a folder");
    put(root, "texts/README.md", b"nothing here");
    put(root, "texts/notes", b"nothing here");
    says("texts", "DATA is a folder without images");
    says("texts", works);
    put(root, "one.png", &flat(1));
    says("one.png", "DATA is a single image; give the folder that holds it");
    put(root, "text.png", b"not an image at all");
    says("text.png", "DATA is a file of no known kind");
    says("text.png", works);
    put(root, "zero.zip", b"");
    says("zero.zip", "DATA is an empty file");
    zip(&root.join("empty.zip"), true, &[]);
    says("empty.zip", "DATA is an empty zip");
    zip(&root.join("texts.zip"), true, &[("a.txt", b"text")]);
    says("texts.zip", "DATA is a zip without images");
    put(root, "text.gz", &gzip(b"just text"));
    says("text.gz", "DATA is gzip, an archive that is not read; unpack it and give the folder");
    // What is known is named, as DATA and in it.
    for (name, bytes, what) in [
        (
            "a.HEIC",
            &b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"[..],
            "HEIC, which is not read; convert it to JPEG, by heif-convert",
        ),
        ("a.rar", b"Rar!\x1a\x07\x01\0", "RAR, an archive that is not read; unpack it"),
        ("a.svg", b"<svg xmlns='x'/>", "SVG, which is not read; export it as PNG"),
        ("data_batch_1", b"\x80\x02}q\x01(U", "a Python pickle, which is not read"),
    ] {
        put(root, name, bytes);
        says(name, &format!("DATA is {what}"));
        put(root, &format!("in-{name}/{name}"), bytes);
        if name == "a.HEIC" {
            let reason = open(&root.join("in-a.HEIC")).image(0).unwrap_err();
            assert!(reason.starts_with(&format!("is {what}")), "{reason}");
        } else {
            says(&format!("in-{name}"), &format!("without images; {name} is {what}"));
        }
    }
}
