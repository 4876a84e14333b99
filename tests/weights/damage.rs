//! Files that are cut short, damaged, or made to harm.

use std::io::Write as _;

use super::*;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// An archive as torch.save makes them.
fn archive(files: &[(&str, &[u8])], objective: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let options = SimpleFileOptions::default().compression_method(objective);
        zip.start_file(format!("archive/{name}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// What import says to a file with this content; none if it takes it.
fn complaint(bytes: &[u8]) -> Option<String> {
    complaint_in(&tempfile::tempdir().unwrap(), bytes)
}

fn complaint_in(dir: &tempfile::TempDir, bytes: &[u8]) -> Option<String> {
    let path = dir.path().join("f");
    fs::write(&path, bytes).unwrap();
    let imported = match import(std::slice::from_ref(&path), &[], &Assumptions::default()) {
        Ok(imported) => imported,
        Err(error) => {
            let text = error.to_string();
            let (file, text) = text.split_once(": ").unwrap();
            assert_eq!(file, path.to_str().unwrap());
            assert!(text.len() < 600, "{text}");
            return Some(text.to_owned());
        }
    };
    let numbers: usize = imported.tensors.values().map(Tensor::len).sum();
    assert!(numbers <= 4 * bytes.len(), "{numbers} numbers from {} bytes", bytes.len());
    None
}

#[test]
fn files_cut_anywhere_or_with_any_bit_turned_do_no_harm() {
    let names = [
        "plain_g.pth",
        "plain_d.safetensors",
        "together.tar",
        "double_g.pth",
        "half_g.pth",
        "views_g.pth",
        "legacy_g.pth",
    ];
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        let whole = fs::read(file(name)).unwrap();
        let step = (whole.len() / 150).max(1);
        for len in (0..whole.len()).step_by(step).chain([whole.len() - 1]) {
            let said = complaint_in(&dir, &whole[..len]);
            assert!(said.is_some(), "{name}: {len} of {} bytes", whole.len());
        }
        // Most of a file is numbers; what steers the reader is at the start and the end.
        let ends = (0..whole.len()).step_by(3).filter(|at| *at < 2000 || at + 900 > whole.len());
        for at in ends.chain((0..whole.len()).step_by(step)) {
            let mut turned = whole.clone();
            turned[at] ^= 1 << (at % 8);
            complaint_in(&dir, &turned);
        }
    }
}

/// A pickle of one item "a.weight" made by `value`.
fn of(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02}(X\x08\0\0\0a.weight", value, b"u."].concat()
}

/// The bytes of a tensor of 4 floats of storage "0" with this shape and these strides.
fn view(shape: &[i32], strides: &[i32]) -> Vec<u8> {
    let tuple = |numbers: &[i32]| {
        let numbers = numbers.iter().flat_map(|n| [b"J", &n.to_le_bytes()[..]].concat());
        [b"(".to_vec(), numbers.collect(), b"t".to_vec()].concat()
    };
    let storage = b"((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ";
    let tensor = [b"ctorch._utils\n_rebuild_tensor_v2\n", &storage[..], b"K\0"].concat();
    let rest = b"\x89ccollections\nOrderedDict\n)RtR";
    [tensor, tuple(shape), tuple(strides), rest.to_vec()].concat()
}

#[test]
fn pickles_that_would_do_something_are_refused_by_name() {
    let call = |function: &str| format!("c{function}\n)R").into_bytes();
    let nested = [b"]q\0".to_vec(), b"(h\0h\0e".repeat(30)].concat();
    let deep = [vec![b']'; 100_000], vec![b'a'; 99_999]].concat();
    let long = [b"X\xff\xff\xff\x7f".to_vec(), vec![b'a'; 50]].concat();
    let cases: &[(Vec<u8>, &str)] = &[
        (of(&call("os\nsystem")), "the Python object \"os.system\", which only running code"),
        (of(&call("builtins\neval")), "\"builtins.eval\""),
        (of(&call("collections\ndefaultdict")), "\"collections.defaultdict\""),
        (of(b"X\x02\0\0\0osX\x06\0\0\0system\x93)R"), "\"os.system\""),
        (of(b"ccollections\nOrderedDict\n)\x81"), "the pickle opcode 0x81 NEWOBJ"),
        (of(b"(ios\nsystem\n"), "0x69 OBJ or INST"),
        (of(b"C\x01x"), "BYTES, which tensors do not need"),
        (of(b"\xff"), "0xff unknown to every version of Python"),
        (of(&nested), "contains itself, or the same parts over and over"),
        (of(&deep), "contains itself, or the same parts over and over"),
        (of(&long), "is cut short"),
        (of(b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f"), "is cut short"),
        (of(b"h\x07"), "does not hold together"),
        (of(b"R"), "does not hold together"),
        (of(b"K\x01e"), "does not hold together"),
        (of(b"Nb"), "does not hold together"),
        (b"\x80\x02u.".to_vec(), "does not hold together"),
        (b"\x80\x02.".to_vec(), "does not hold together"),
        (b"\x80\x02".to_vec(), "is cut short"),
        (of(&view(&[2, 2, 1, 1], &[2, 2, 1, 1])), "reaches beyond its storage"),
        (of(&view(&[1 << 30, 1 << 30, 4, 4], &[0, 0, 0, 0])), "larger than the whole file"),
        (of(&view(&[1 << 14, 1, 1, 1], &[0, 0, 0, 0])), "larger than the whole file"),
        (of(&view(&[-1, 1], &[1, 1])), "does not hold together"),
        (of(&view(&[1], &[1, 1])), "does not hold together"),
        (of(&view(&[2, 2], &[2, 1])), "holds no convolution"),
        (of(&view(&[2, 2, 1, 1], &[2, 1, 1, 1])), "is not a DCGAN that can be imported"),
    ];
    for (pickle, words) in cases {
        let files: [(&str, &[u8]); 3] =
            [("data.pkl", pickle), ("byteorder", b"little"), ("data/0", &[0; 16])];
        let text = complaint(&archive(&files, CompressionMethod::Stored));
        let text = text.unwrap_or_else(|| panic!("taken, without {words:?}"));
        assert!(text.contains(words), "no {words:?} in: {text}");
    }
}

#[test]
fn archives_that_are_not_pytorchs_are_called_what_they_are() {
    let stored = CompressionMethod::Stored;
    let good = of(&view(&[2, 2, 1, 1], &[2, 1, 1, 1]));
    let zeros = vec![0; 100_000];
    let cases: [(Vec<u8>, &str); 9] = [
        (archive(&[("a.txt", b"x")], stored), "not one of PyTorch's (it has no data.pkl)"),
        (archive(&[("data.pkl", &good)], stored), "its part \"archive/data/0\" is missing"),
        (
            archive(&[("data.pkl", &good), ("byteorder", b"big")], stored),
            "was written by a big-endian machine",
        ),
        (
            archive(&[("data.pkl", &good), ("constants.pkl", b".")], stored),
            "is a TorchScript program",
        ),
        // A bomb: little that becomes much.
        (
            archive(&[("data.pkl", &good), ("data/0", &zeros)], CompressionMethod::Deflated),
            "is compressed; save it again",
        ),
        (b"PK\x03\x04 and no more".to_vec(), "not a complete zip archive"),
        (Vec::new(), "is empty"),
        (b"weights: 1.0, 2.0".to_vec(), "neither a safetensors file nor one of torch.save"),
        (vec![0xff; 300], "neither a safetensors file nor one of torch.save"),
    ];
    for (bytes, words) in cases {
        let text = complaint(&bytes).unwrap_or_else(|| panic!("taken, without {words:?}"));
        assert!(text.contains(words), "no {words:?} in: {text}");
    }
}

/// Two parts of an archive in the same place, as in bombs that unpack one piece many times over.
#[test]
fn parts_that_lie_over_one_another_are_refused() {
    let pickle = of(&view(&[2, 2, 1, 1], &[2, 1, 1, 1]));
    let files: [(&str, &[u8]); 3] =
        [("data.pkl", &pickle), ("data/0", &[0; 16]), ("data/1", &[0; 16])];
    let mut bytes = archive(&files, CompressionMethod::Stored);
    // The central directory's entries; where each part begins stands 42 bytes behind its start.
    let entries: Vec<usize> =
        (0..bytes.len() - 4).filter(|&at| bytes[at..].starts_with(b"PK\x01\x02")).collect();
    assert_eq!(entries.len(), 3);
    let place: [u8; 4] = bytes[entries[1] + 42..entries[1] + 46].try_into().unwrap();
    bytes[entries[2] + 42..entries[2] + 46].copy_from_slice(&place);
    let text = complaint(&bytes).unwrap();
    assert!(text.contains("its parts overlap"), "{text}");
}

/// Many dictionaries with one large state in common: what a file says once is not read for each.
#[test]
fn a_state_that_many_share_is_not_read_over_and_over() {
    let dict = "ccollections\nOrderedDict\n)R";
    let mut pickle = b"\x80\x02]".to_vec();
    // The state: a dictionary of 20,000 items, remembered as 1.
    pickle.extend(b"}(");
    for i in 0..20_000_i32 {
        pickle.extend([b"J", &i.to_le_bytes()[..], b"N"].concat());
    }
    pickle.extend(b"uq\x010");
    for _ in 0..20_000 {
        pickle.extend([dict.as_bytes(), b"h\x01ba"].concat());
    }
    pickle.push(b'.');
    let files: [(&str, &[u8]); 1] = [("data.pkl", &pickle)];
    let text = complaint(&archive(&files, CompressionMethod::Stored)).unwrap();
    assert!(text.contains("the same parts over and over"), "{text}");
}

#[test]
fn layers_of_other_networks_are_named() {
    let save = |tensors: &[(&str, &[usize])]| {
        let tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> = tensors
            .iter()
            .map(|(name, shape)| {
                let len = 4 * shape.iter().product::<usize>();
                ((*name).to_owned(), (shape.to_vec(), vec![0; len]))
            })
            .collect();
        let views = tensors.iter().map(|(name, (shape, bytes))| {
            let view =
                safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
            (name.clone(), view.unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    };
    type Case<'a> = (&'a [(&'a str, &'a [usize])], &'a str);
    let cases: &[Case<'_>] = &[
        (&[("a.weight", &[8, 4, 3, 3]), ("b.alpha", &[8])], "b.alpha is not part of a convolution"),
        (&[("a.weight", &[8, 4, 3, 3]), ("b.weight", &[8])], "as PReLU has"),
        (&[("a.weight_orig", &[8, 4, 3, 3])], "a.weight: spectral norm has weight_orig, weight_u"),
        (&[("a.weight_v", &[8, 4, 3, 3])], "this layer has weight_v"),
        (
            &[("a.weight_orig", &[8, 4, 3, 3]), ("a.weight_u", &[3]), ("a.weight_v", &[12])],
            "a.weight: weight_u and weight_v do not belong to weight_orig by their shapes",
        ),
        (
            &[("a.weight_orig", &[8, 4, 3, 3]), ("a.weight_u", &[8]), ("a.weight_v", &[36])],
            "a.weight: its largest singular value, by weight_u and weight_v, is 0",
        ),
        (
            &[("a.weight_v", &[8, 4, 3, 3]), ("a.weight_g", &[3])],
            "a.weight: weight_g does not belong to weight_v by their shapes",
        ),
        (&[("a.parametrizations.weight.0.base", &[8, 4, 3, 3])], "remove_parametrizations"),
        (
            &[("a.weight", &[8, 4, 3, 3]), ("b.weight", &[8, 4, 3])],
            "b is neither a 2-D convolution",
        ),
        (&[("a.weight", &[8, 4, 3, 3])], "has a single layer"),
        (
            &[("0.weight", &[6, 8, 4, 4]), ("2.weight", &[8, 5, 4, 4])],
            "images of 5 channels; 1, 3 and 4 can be used",
        ),
        (
            &[("0.weight", &[6, 8, 4, 4]), ("2.weight", &[9, 3, 4, 4])],
            "0 gives 8 channels, and 2, which seems to follow, takes",
        ),
        (
            &[
                ("0.weight", &[6, 8, 4, 4]),
                ("1.weight", &[8]),
                ("1.bias", &[8]),
                ("3.weight", &[8, 3, 4, 4]),
            ],
            "1 has no running statistics: if it is a batch norm",
        ),
        (
            &[
                ("0.weight", &[6, 8, 4, 4]),
                ("2.weight", &[7]),
                ("2.bias", &[7]),
                ("3.weight", &[8, 3, 4, 4]),
            ],
            "its batch norms (2) do not fit",
        ),
    ];
    for (tensors, words) in cases {
        let text = complaint(&save(tensors)).unwrap_or_else(|| panic!("taken, without {words:?}"));
        assert!(text.contains(words), "no {words:?} in: {text}");
    }
    let mut spoiled = save(&[("0.weight", &[6, 8, 4, 4]), ("2.weight", &[8, 3, 4, 4])]);
    let len = spoiled.len();
    spoiled[len - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let text = complaint(&spoiled).unwrap();
    assert!(text.contains("number 383 of 2.weight is not finite"), "{text}");
}

/// A square root that is NaN: the weights are not too large, they are wrong.
#[test]
fn a_variance_below_zero_is_refused() {
    let bytes = fs::read(file("plain_g.safetensors")).unwrap();
    let whole = SafeTensors::deserialize(&bytes).unwrap();
    let tensors: Vec<_> = whole
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let mut data = view.data().to_vec();
            if name.ends_with("1.running_var") {
                data[4..8].copy_from_slice(&(-1_f32).to_le_bytes());
            }
            (name, view.dtype(), view.shape().to_vec(), data)
        })
        .collect();
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        let view = safetensors::tensor::TensorView::new(*dtype, shape.clone(), data).unwrap();
        (name.clone(), view)
    });
    let damaged = safetensors::serialize(views, None).unwrap();
    let text = complaint(&damaged).expect("it draws nothing");
    assert!(
        text.contains("number 1 of the running variance of") && text.contains("negative"),
        "{text}"
    );
}
