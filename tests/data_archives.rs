//! Archives as they come: in several pieces, with links, with one name twice, without magic, and
//! those that are made to harm.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use dcgan::data::{Kind, Source};
use tar::{EntryType, Header};
use tempfile::tempdir;

use crate::data_sources::{corner, flat, gzip, names, open, put, zip};
use crate::mutate;

/// The header of an entry.
fn header(name: &str, kind: EntryType, size: usize, link: &str) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_path(name).unwrap();
    if !link.is_empty() {
        header.set_link_name(link).unwrap();
    }
    header.set_cksum();
    header
}

/// An entry with its padding.
fn entry(header: &Header, bytes: &[u8]) -> Vec<u8> {
    let mut out = header.as_bytes().to_vec();
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
    entry(&header(name, EntryType::Regular, bytes.len(), ""), bytes)
}

fn link(name: &str, kind: EntryType, target: &str) -> Vec<u8> {
    entry(&header(name, kind, 0, target), b"")
}

const END: [u8; 1024] = [0; 1024];

/// Opens a tar as it is and gzipped, and checks both alike.
fn both(tar: &[u8], check: impl Fn(&Source)) {
    let data = tempdir().unwrap();
    for (name, bytes) in [("a.tar", tar.to_vec()), ("a.tar.gz", gzip(tar))] {
        put(data.path(), name, &bytes);
        let source = open(&data.path().join(name));
        assert_eq!(source.kind(), Kind::Tar);
        check(&source);
    }
}

fn refused(name: &str, bytes: &[u8]) -> String {
    let data = tempdir().unwrap();
    put(data.path(), name, bytes);
    Source::open(Some(&data.path().join(name))).unwrap_err().to_string()
}

#[test]
fn all_members_of_a_gzip_are_read() {
    let data = tempdir().unwrap();
    let tar = [file("a/1.png", &flat(1)), file("b/2.png", &flat(2)), END.to_vec()].concat();
    // In the middle of an entry, between entries, and before the end.
    for cut in [700, 1024, tar.len() - 1024, tar.len() - 100] {
        let bytes = [gzip(&tar[..cut]), gzip(&tar[cut..])].concat();
        put(data.path(), "a.tar.gz", &bytes);
        assert_eq!(names(&open(&data.path().join("a.tar.gz"))).len(), 2, "{cut}");
    }
    let pixels = crate::data_sources::idx(&[3, 2, 2], &[7; 12]);
    let labels = crate::data_sources::idx(&[3], &[1, 2, 1]);
    for (name, bytes) in
        [("train-images-idx3-ubyte.gz", &pixels), ("train-labels-idx1-ubyte.gz", &labels)]
    {
        for cut in [2, 9, bytes.len() - 1] {
            put(data.path(), name, &[gzip(&bytes[..cut]), gzip(&bytes[cut..])].concat());
            let other = if name.contains("images") { &labels } else { &pixels };
            let other_name = if name.contains("images") {
                "train-labels-idx1-ubyte.gz"
            } else {
                "train-images-idx3-ubyte.gz"
            };
            put(data.path(), other_name, &gzip(other));
            let source = open(&data.path().join("train-images-idx3-ubyte.gz"));
            assert_eq!((source.len(), source.labels()), (3, Some(&[0, 1, 0][..])), "{name} {cut}");
        }
    }
    // The checksum at its end is looked at.
    let mut bytes = gzip(&pixels);
    let at = bytes.len() - 8;
    bytes[at] ^= 1;
    assert!(refused("train-images-idx3-ubyte.gz", &bytes).contains("truncated or damaged"));
    let mut bytes = gzip(&tar);
    bytes.truncate(bytes.len() - 30);
    assert!(refused("a.tar.gz", &bytes).contains("cannot be read to its end"));
}

#[test]
fn two_tars_in_one_file_are_both_read_and_rubbish_behind_the_end_is_not() {
    let one = [file("1.png", &flat(1)), END.to_vec()].concat();
    let two = [file("2.png", &flat(2)), END.to_vec()].concat();
    both(&[one.clone(), vec![0; 9 * 512], two].concat(), |source| {
        assert_eq!(names(source), ["1.png", "2.png"]);
        assert_eq!(corner(source, 1)[0], 2);
    });
    for rubbish in [vec![7; 512], vec![7; 100]] {
        both(&[one.clone(), rubbish].concat(), |source| assert_eq!(names(source), ["1.png"]));
    }
    // Without the end, and cut off within.
    both(&file("1.png", &flat(1)), |source| assert_eq!(corner(source, 0)[0], 1));
    let whole = file("1.png", &flat(1));
    for cut in [512 + 10, 512 + flat(1).len() - 1] {
        for (name, bytes) in [("a.tar", whole[..cut].to_vec()), ("a.tar.gz", gzip(&whole[..cut]))] {
            let error = refused(name, &bytes);
            assert!(error.contains("to its end (it is truncated)"), "{name} {cut}: {error}");
        }
    }
    let mut bytes = [file("1.png", &flat(1)), file("2.png", &flat(2))].concat();
    let second = bytes.len() - 1024;
    bytes[second + 3] ^= 1;
    assert!(refused("a.tar", &bytes).contains("checksum"), "{}", refused("a.tar", &bytes));
}

#[test]
fn links_in_a_tar_are_what_they_lead_to() {
    let tar = [
        link("early/1.png", EntryType::Link, "x/1.png"),
        file("x/1.png", &flat(1)),
        link("hard/2.png", EntryType::Link, "./x/1.png"),
        link("soft/3.png", EntryType::Symlink, "../x/1.png"),
        link("soft/4.png", EntryType::Symlink, "3.png"),
        link("soft/5.png", EntryType::Symlink, "nowhere.png"),
        link("soft/6.png", EntryType::Symlink, "6.png"),
        link("soft/folder", EntryType::Symlink, "../x"),
        END.to_vec(),
    ]
    .concat();
    both(&tar, |source| {
        let all = names(source);
        assert_eq!(
            all,
            [
                "early/1.png",
                "hard/2.png",
                "soft/3.png",
                "soft/4.png",
                "soft/5.png",
                "soft/6.png",
                "x/1.png"
            ]
        );
        for (item, name) in all.iter().enumerate() {
            match source.image(item) {
                Ok(image) => assert_eq!(image.pixels.to_rgb8().get_pixel(0, 0)[0], 1),
                Err(what) => {
                    assert!(
                        ["soft/5.png", "soft/6.png"].contains(&name.as_str()),
                        "{name}: {what}"
                    );
                    assert!(what.contains("is a link to"), "{what}");
                }
            }
        }
    });
}

#[test]
fn links_in_a_zip_are_what_they_lead_to() {
    let data = tempdir().unwrap();
    let path = data.path().join("a.zip");
    let mut writer = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    writer.add_symlink("soft/2.png", "../x/1.png", options).unwrap();
    writer.add_symlink("soft/3.png", "nowhere.png", options).unwrap();
    writer.start_file("x/1.png", options).unwrap();
    writer.write_all(&flat(1)).unwrap();
    writer.finish().unwrap();
    let source = open(&path);
    assert_eq!(names(&source), ["soft/2.png", "soft/3.png", "x/1.png"]);
    assert_eq!(corner(&source, 0)[0], 1);
    assert!(source.image(1).unwrap_err().contains("is a link to \"soft/nowhere.png\""));
}

#[test]
fn of_one_name_twice_the_last_counts() {
    let tar = [
        file("1.png", &flat(1)),
        file("a/2.png", &flat(2)),
        file("./a//2.png", &flat(3)),
        file("1.png", &flat(4)),
        link("5.png", EntryType::Link, "1.png"),
        file("5.png", &flat(5)),
        END.to_vec(),
    ]
    .concat();
    both(&tar, |source| {
        assert_eq!(source.len(), 3);
        let seen: Vec<u8> = (0..3).map(|item| corner(source, item)[0]).collect();
        assert_eq!(seen, [4, 5, 3], "{:?}", names(source));
    });

    let data = tempdir().unwrap();
    let path = data.path().join("a.zip");
    // The library refuses to write a name twice: another of the same length is renamed in the file.
    zip(
        &path,
        true,
        &[("a/1.png", &flat(1)), ("a\\1.png", &flat(2)), ("2.png", &flat(3)), ("3.png", &flat(4))],
    );
    let mut bytes = std::fs::read(&path).unwrap();
    let at: Vec<usize> = (0..bytes.len() - 5).filter(|&i| &bytes[i..i + 5] == b"3.png").collect();
    at.iter().for_each(|&i| bytes[i] = b'2');
    std::fs::write(&path, bytes).unwrap();
    let source = open(&path);
    assert_eq!(names(&source).len(), 2, "{:?}", names(&source));
    let mut seen: Vec<u8> = (0..2).map(|item| corner(&source, item)[0]).collect();
    seen.sort_unstable();
    assert_eq!(seen, [2, 4]);
}

#[test]
fn a_tar_without_magic_and_with_long_names_is_read() {
    let old = |name: &str, bytes: &[u8]| {
        let mut header = Header::new_old();
        header.set_size(bytes.len() as u64);
        header.set_path(name).unwrap();
        header.set_cksum();
        entry(&header, bytes)
    };
    both(&[old("a/1.png", &flat(1)), END.to_vec()].concat(), |source| {
        assert_eq!((names(source), corner(source, 0)[0]), (vec!["a/1.png".to_owned()], 1));
    });
    let long = format!("{}/1.png", "long/".repeat(40));
    let mut tar = tar::Builder::new(Vec::new());
    let mut plain = Header::new_gnu();
    plain.set_size(flat(1).len() as u64);
    tar.append_data(&mut plain, &long, flat(1).as_slice()).unwrap();
    tar.append_pax_extensions([("path", "pax/ü.png".as_bytes())]).unwrap();
    let bytes = flat(2);
    let mut plain = header("cut-off.png", EntryType::Regular, bytes.len(), "");
    plain.set_cksum();
    tar.append(&plain, bytes.as_slice()).unwrap();
    both(&tar.into_inner().unwrap(), |source| {
        assert_eq!(names(source), [long.clone(), "pax/ü.png".into()]);
        assert_eq!(corner(source, 1)[0], 2);
    });
}

#[test]
fn sizes_in_a_tar_are_not_believed() {
    // A size that would overflow, of an image, of a name, of something else.
    for kind in [EntryType::Regular, EntryType::GNULongName, EntryType::XHeader, EntryType::Char] {
        for size in [u64::MAX, u64::MAX - 600, 1 << 62, 1 << 40] {
            let mut head = header("1.png", kind, 0, "");
            head.set_size(size);
            head.set_cksum();
            let bytes = [entry(&head, &flat(1)), END.to_vec()].concat();
            for (name, bytes) in [("a.tar", bytes.clone()), ("a.tar.gz", gzip(&bytes))] {
                assert!(refused(name, &bytes).contains("cannot be read to its end"), "{size}");
            }
        }
    }
}

#[test]
fn of_a_packed_tar_only_images_are_kept() {
    mutate::in_child("data_archives::a_gigabyte_that_is_no_image", 900, Duration::from_secs(100));
}

/// A gigabyte of zeros beside an image, and an image by its name that is larger than any: half a
/// megabyte as a gzip.
#[test]
#[ignore = "run by the test above, in a process of its own"]
fn a_gigabyte_that_is_no_image() {
    let data = tempdir().unwrap();
    let path = data.path().join("a.tar.gz");
    let mut out = flate2::write::GzEncoder::new(
        std::fs::File::create(&path).unwrap(),
        flate2::Compression::fast(),
    );
    for (name, size) in [("model.bin", 1 << 30), ("0.png", (256 << 20) + 512)] {
        out.write_all(header(name, EntryType::Regular, size, "").as_bytes()).unwrap();
        for _ in 0..size / 512 {
            out.write_all(&[0; 512]).unwrap();
        }
    }
    out.write_all(&[file("1.png", &flat(1)), END.to_vec()].concat()).unwrap();
    out.finish().unwrap();
    let source = open(&path);
    assert_eq!(names(&source), ["0.png", "1.png"]);
    assert!(source.image(0).unwrap_err().contains("larger than 256 MiB"));
    assert_eq!(corner(&source, 1)[0], 1);
}

/// Where the entries of a zip's directory begin.
fn directory(bytes: &[u8]) -> Vec<usize> {
    (0..bytes.len() - 4).filter(|&i| &bytes[i..i + 4] == b"PK\x01\x02").collect()
}

fn refused_zip(path: &Path, bytes: &[u8]) -> String {
    std::fs::write(path, bytes).unwrap();
    Source::open(Some(path)).unwrap_err().to_string()
}

#[test]
fn zips_made_to_harm_are_refused_before_they_are_unpacked() {
    let data = tempdir().unwrap();
    let path = data.path().join("a.zip");
    zip(&path, false, &[("1.png", &flat(1)), ("2.png", &flat(2))]);
    let whole = std::fs::read(&path).unwrap();
    let entries = directory(&whole);

    // Both names lead to one content.
    let mut overlapping = whole.clone();
    overlapping.copy_within(entries[0] + 42..entries[0] + 46, entries[1] + 42);
    let error = refused_zip(&path, &overlapping);
    assert!(error.contains("lie over each other"), "{error}");

    // One that says that it unpacks to more than any image has.
    let mut large = whole.clone();
    large[entries[0] + 24..entries[0] + 28].copy_from_slice(&0x7000_0000_u32.to_le_bytes());
    std::fs::write(&path, &large).unwrap();
    assert!(open(&path).image(0).unwrap_err().contains("larger than 256 MiB"));

    // One that unpacks to more than it says.
    let mut small = whole;
    small[entries[0] + 24..entries[0] + 28].copy_from_slice(&20_u32.to_le_bytes());
    std::fs::write(&path, &small).unwrap();
    let what = open(&path).image(0).unwrap_err();
    assert!(what.contains("larger than its declared uncompressed size"), "{what}");
    assert_eq!(corner(&open(&path), 1)[0], 2);
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_stay_apart() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let data = tempdir().unwrap();
    let folder = data.path().join(OsStr::from_bytes(b"b\xffd"));
    std::fs::create_dir(&folder).unwrap();
    for (name, red) in [(&b"1\xfe.png"[..], 1), (b"1\xff.png", 2)] {
        std::fs::write(folder.join(OsStr::from_bytes(name)), flat(red)).unwrap();
    }
    let source = open(data.path());
    assert_eq!(names(&source), ["b\\xFFd/1\\xFE.png", "b\\xFFd/1\\xFF.png"]);
    assert_eq!((corner(&source, 0)[0], corner(&source, 1)[0]), (1, 2));
    assert_eq!(open(&folder).len(), 2);
}

/// An old program counts files in 16 bits: of 65,540 its zip counts 4, and the directory has them all.
#[test]
fn a_zip_whose_directory_holds_more_than_it_counts_is_refused() {
    let data = tempdir().unwrap();
    let path = data.path().join("a.zip");
    zip(&path, false, &[("1.png", &flat(1)), ("2.png", &flat(2)), ("3.png", &flat(3))]);
    let mut bytes = std::fs::read(&path).unwrap();
    assert_eq!(open(&path).len(), 3);
    let end = bytes.len() - 22;
    bytes[end + 8] = 1;
    bytes[end + 10] = 1;
    let error = refused("a.zip", &bytes);
    assert!(
        error.contains("holds more files than it counts") && error.contains("unpack it"),
        "{error}"
    );
}

#[test]
fn a_tar_without_its_end_is_said_to_be_short() {
    let whole = [file("1.png", &flat(1)), END.to_vec()].concat();
    let said = |source: &Source| source.notes().iter().any(|note| note.contains("end of the tar"));
    both(&whole, |source| assert!(!said(source), "{:?}", source.notes()));
    both(&whole[..whole.len() - 1024], |source| assert!(said(source), "{:?}", source.notes()));
}

#[test]
fn a_class_is_the_folder_that_a_path_leads_to() {
    let paths = ["/a/1.png", "x/../b/2.png", "../c/3.png", "./d//4.png"];
    let entries = paths.iter().enumerate().flat_map(|(i, path)| {
        let mut header = Header::new_gnu();
        header.set_size(flat(1).len() as u64);
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        entry(&header, &flat(i as u8))
    });
    let tar: Vec<u8> = entries.chain(END).collect();
    both(&tar, |source| assert_eq!(source.classes(), ["a", "b", "c", "d"]));
    let data = tempdir().unwrap();
    let path = data.path().join("a.zip");
    let files: Vec<_> = paths.iter().map(|path| (*path, flat(1))).collect();
    let files: Vec<_> = files.iter().map(|(path, bytes)| (*path, bytes.as_slice())).collect();
    zip(&path, false, &files);
    assert_eq!(open(&path).classes(), ["a", "b", "c", "d"]);
}

/// A name cannot write lines of its own: text for a terminal keeps ends of lines.
#[test]
fn names_are_of_one_line() {
    let tar = [file("a\nerror: b/1.png", &flat(1)), file("c\td/2.png", b"none"), END.to_vec()];
    both(&tar.concat(), |source| {
        assert_eq!(source.classes(), ["a\\nerror: b", "c\\td"]);
        assert_eq!(names(source), ["a\\nerror: b/1.png", "c\\td/2.png"]);
        assert_eq!(corner(source, 0)[0], 1);
    });
    let data = tempdir().unwrap();
    let path = data.path().join("a.zip");
    zip(&path, false, &[("a\nb/1.png", &flat(1)), ("c/2.png", &flat(2))]);
    assert_eq!(open(&path).classes(), ["a\\nb", "c"]);
    if cfg!(unix) {
        put(data.path(), "folder/a\nb/1.png", &flat(7));
        put(data.path(), "folder/c/1.png", &flat(2));
        let source = open(&data.path().join("folder"));
        assert_eq!((source.classes()[0].as_str(), corner(&source, 0)[0]), ("a\\nb", 7));
    }
}

#[test]
fn what_packs_an_entry_unread_is_named_with_what_to_do() {
    let data = tempdir().unwrap();
    let path = data.path().join("a.zip");
    zip(&path, false, &[("1.png", &flat(1))]);
    let mut bytes = std::fs::read(&path).unwrap();
    let central = bytes.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    bytes[8] = 14;
    bytes[central + 10] = 14;
    std::fs::write(&path, &bytes).unwrap();
    let reason = open(&path).image(0).unwrap_err();
    assert!(reason.contains("unpack the zip and give the folder"), "{reason}");
}

/// The oldest way to write a file with holes says so in records of its own.
#[test]
fn a_file_with_holes_is_recognized_by_any_of_its_records() {
    let sparse = b"24 GNU.sparse.size=4096\n";
    let pax = entry(&header("x", EntryType::XHeader, sparse.len(), ""), sparse);
    let tar = [pax, file("1.png", &flat(1)), file("2.png", &flat(2)), END.to_vec()].concat();
    both(&tar, |source| {
        let reason = source.image(0).unwrap_err();
        assert!(reason.contains("stored with holes"), "{reason}");
        assert_eq!(corner(source, 1)[0], 2);
    });
}
