//! Files that hold the images of a set, or a part of them, in a folder: tars as webdataset's shards, Parquet
//! files as of Hugging Face, LMDB databases as of LSUN. They are one set, in the order of their names;
//! each image is called by its file and its name in there, `shard-0001.tar:0042.png`.

use std::path::Path;

use super::formats::is_tar_header;
use super::source::Kind;
use super::store::{self, Store};
use crate::error::{Error, Result};

/// A kind of file that holds images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    Tar { gzipped: bool },
    Parquet,
    Lmdb,
}

impl Container {
    /// What a file is, by its first 512 bytes and its name.
    pub(crate) fn find(head: &[u8], name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let is_packed_tar = name.ends_with(".tar.gz") || name.ends_with(".tgz");
        match head {
            _ if head.starts_with(b"PAR1") => Some(Self::Parquet),
            _ if head.get(16..20) == Some(&store::LMDB) => Some(Self::Lmdb),
            _ if head.starts_with(&[0x1f, 0x8b]) && is_packed_tar => {
                Some(Self::Tar { gzipped: true })
            }
            _ if is_tar_header(head) => Some(Self::Tar { gzipped: false }),
            _ => None,
        }
    }

    /// What a set of such files is.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Tar { .. } => Kind::Tar,
            Self::Parquet => Kind::Parquet,
            Self::Lmdb => Kind::Lmdb,
        }
    }

    /// Opens one.
    pub(super) fn open(self, path: &Path) -> Result<Store> {
        match self {
            Self::Tar { gzipped } => Store::tar(path, gzipped),
            Self::Lmdb => Store::lmdb(path),
            #[cfg(feature = "parquet")]
            Self::Parquet => Store::table(path),
            #[cfg(not(feature = "parquet"))]
            Self::Parquet => Err(Error::file(
                path,
                "DATA is Parquet, which this build does not read (feature `parquet`)",
            )),
        }
    }
}

/// All files of the containers `files` of a folder at `path`; nothing where these are not files on disk.
pub(super) fn open(
    path: &Path,
    store: &Store,
    files: &[(usize, Container)],
) -> Result<Option<Store>> {
    let mut stores = Vec::new();
    for &(index, container) in files {
        let Some(file) = store.path(index) else { return Ok(None) };
        stores.push((store.names()[index].clone(), container.open(file)?));
    }
    if u32::try_from(stores.len()).is_err() {
        return Err(Error::file(path, "DATA holds too many files; give a part of it"));
    }
    Ok(Some(Store::joined(stores)))
}
