//! The rows of a Parquet file, as of Hugging Face's sets: image files in a column of bytes, beside a
//! column of classes, whose names the file's metadata have, and one of captions.
//!
//! Image files are read one by one, at the page of theirs; classes when the file is opened.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use parquet::basic::Type;
use parquet::column::reader::{ColumnReaderImpl, get_column_reader, get_typed_column_reader};
use parquet::data_type::{ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use serde_json::Value;

use super::pages;
use super::window::{Blob, Window};
use crate::data::decode::caught;
use crate::error::{Error, Result};

/// Columns that hold captions, by name.
const TEXTS: [&str; 5] = ["text", "caption", "captions", "prompt", "sentence"];

/// Columns that hold classes where the metadata name none.
const LABELS: [&str; 8] = ["label", "labels", "fine_label", "class", "cls", "target", "digit", "y"];

/// Rows that are read at once.
const PIECE: usize = 4096;

/// Parts of the file, on demand.
#[derive(Debug)]
struct Chunks {
    file: Window,
    length: u64,
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Chunks {
    type T = Window;

    fn get_read(&self, start: u64) -> ParquetResult<Window> {
        let mut file = self.file.clone();
        file.seek(SeekFrom::Start(start))?;
        Ok(file)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(ParquetError::EOF("a part lies beyond its end".into()));
        }
        let mut bytes = vec![0; length];
        self.get_read(start)?.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// Some rows that lie together, and the pages of a column with them.
#[derive(Debug)]
struct Group {
    first: usize,
    rows: usize,
    pages: Vec<PageLocation>,
}

/// A column, by its number among all.
#[derive(Debug)]
struct Column {
    number: usize,
    groups: Vec<Group>,
}

/// Where the rows of a file are, and what their classes are.
#[derive(Debug)]
pub(super) struct Table {
    chunks: Arc<Chunks>,
    metadata: ParquetMetaData,
    images: Column,
    texts: Option<Column>,
    labels: Option<Vec<u32>>,
    /// The names of the classes.
    classes: Vec<String>,
}

/// What `f` returns; its error, or that it panicked, as the end of a sentence.
fn guarded<T>(f: impl FnOnce() -> ParquetResult<T>) -> Result<T, String> {
    match caught(f) {
        Some(Ok(value)) => Ok(value),
        Some(Err(e)) => Err(format!("cannot be read as Parquet ({e})")),
        None => Err("is Parquet that the decoder fails on".into()),
    }
}

impl Table {
    /// Reads what the file says of itself: a name for each row, in order, and where it lies.
    pub(super) fn open(path: &Path) -> Result<(Vec<String>, Self)> {
        let fail = |what: String| {
            Error::file(path, format!("DATA is Parquet that cannot be used: it {what}"))
        };
        let file = File::open(path).map_err(|e| super::unreadable(path, &e))?;
        let length = file.metadata().map_err(|e| super::unreadable(path, &e))?.len();
        let file = Window::new(Blob::File(Arc::new(Mutex::new(file))), length);
        let table = Self::new(Chunks { file, length }).map_err(fail)?;
        let rows = table.images.groups.iter().map(|group| group.rows).sum::<usize>();
        let names = (0..rows).flat_map(|row| {
            let text = table.texts.as_ref().map(|_| format!("{row:08}.txt"));
            std::iter::once(format!("{row:08}.image")).chain(text)
        });
        Ok((names.collect(), table))
    }

    fn new(chunks: Chunks) -> Result<Self, String> {
        let metadata = guarded(|| ParquetMetaDataReader::new().parse_and_finish(&chunks))?;
        let schema = metadata.file_metadata().schema_descr();
        let flat: Vec<(usize, String, Type)> = (0..schema.num_columns())
            .map(|i| (i, schema.column(i)))
            .filter(|(_, column)| column.max_rep_level() == 0)
            .map(|(i, column)| (i, column.path().string(), column.physical_type()))
            .collect();
        let bytes = || flat.iter().filter(|(.., kind)| *kind == Type::BYTE_ARRAY);
        let called = |names: &[&str]| {
            names.iter().find_map(|name| bytes().find(|(_, path, _)| path == name)).map(|c| c.0)
        };
        let images = called(&["image.bytes", "img.bytes"])
            .or_else(|| bytes().find(|(_, path, _)| path.ends_with(".bytes")).map(|c| c.0))
            .or_else(|| {
                called(&["image", "img", "bytes", "png", "jpg", "jpeg", "webp", "content"])
            });
        let Some(images) = images else {
            let names: Vec<&str> = flat.iter().take(20).map(|(_, path, _)| path.as_str()).collect();
            return Err(format!(
                "has no column of image files, which would be image.bytes as of Hugging Face's sets, or \
                 image; it has {}",
                names.join(", ")
            ));
        };
        let (label, classes) = classes(&metadata, &flat);
        let texts = called(&TEXTS);
        let column = |number| column(&chunks, &metadata, number);
        let (images, texts) = (column(images)?, texts.map(column).transpose()?);
        let label = label.map(column).transpose()?;
        let chunks = Arc::new(chunks);
        let mut table = Self { chunks, metadata, images, texts, labels: None, classes };
        if let Some(label) = label {
            table.labels = table.numbers(&label)?;
        }
        Ok(table)
    }

    /// The class of a row: its number and, if it has one, its name.
    pub(super) fn class(&self, index: usize) -> Option<(u32, Option<&str>)> {
        let label = *self.labels.as_ref()?.get(self.row(index).0)?;
        Some((label, self.classes.get(label as usize).map(String::as_str)))
    }

    /// Whether an entry is a caption.
    pub(super) fn is_text(&self, index: usize) -> bool {
        self.row(index).1
    }

    /// The row of an entry, and whether it is its text.
    fn row(&self, index: usize) -> (usize, bool) {
        match self.texts {
            Some(_) => (index / 2, index % 2 == 1),
            None => (index, false),
        }
    }

    /// A reader of a column's rows from the beginning of a group.
    fn reader<T: DataType>(
        &self,
        column: &Column,
        group: usize,
    ) -> ParquetResult<ColumnReaderImpl<T>> {
        let chunk = self.metadata.row_group(group).column(column.number);
        let rows = column.groups[group].rows;
        let pages = Some(column.groups[group].pages.clone());
        let pages = SerializedPageReader::new(Arc::clone(&self.chunks), chunk, rows, pages)?;
        let schema = self.metadata.file_metadata().schema_descr();
        let reader = get_column_reader(schema.column(column.number), Box::new(pages));
        Ok(get_typed_column_reader::<T>(reader))
    }

    /// All numbers of a column; nothing where one is missing or no class.
    fn numbers(&self, column: &Column) -> Result<Option<Vec<u32>>, String> {
        let schema = self.metadata.file_metadata().schema_descr();
        let is_long = schema.column(column.number).physical_type() == Type::INT64;
        let mut all = Vec::new();
        for group in 0..column.groups.len() {
            let found = match is_long {
                true => guarded(|| read_all::<Int64Type>(self.reader(column, group)?, i64::from)),
                false => guarded(|| read_all::<Int32Type>(self.reader(column, group)?, i64::from)),
            }?;
            if found.len() != column.groups[group].rows {
                return Ok(None);
            }
            all.extend(found);
        }
        Ok(all.into_iter().map(|number| u32::try_from(number).ok()).collect())
    }

    /// The bytes of an entry.
    pub(super) fn read<T>(
        &self,
        index: usize,
        f: impl FnOnce(&mut dyn Read, u64) -> Result<T, String>,
    ) -> Result<T, String> {
        let (row, is_text) = self.row(index);
        let column = self.texts.as_ref().filter(|_| is_text).unwrap_or(&self.images);
        let group = column.groups.partition_point(|group| group.first <= row).saturating_sub(1);
        let values = guarded(|| {
            let mut reader = self.reader::<ByteArrayType>(column, group)?;
            reader.skip_records(row - column.groups[group].first)?;
            let (mut values, mut levels) = (Vec::new(), Vec::new());
            reader.read_records(1, Some(&mut levels), None, &mut values)?;
            Ok(values)
        })?;
        let Some(value) = values.first() else {
            return Err("has no bytes: its row names a file somewhere else".into());
        };
        f(&mut Cursor::new(value.data()), value.len() as u64)
    }
}

/// All values of a column's group.
fn read_all<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    number: impl Fn(T::T) -> i64,
) -> ParquetResult<Vec<i64>> {
    let mut all = Vec::new();
    loop {
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let (records, ..) = reader.read_records(PIECE, Some(&mut levels), None, &mut values)?;
        if records == 0 {
            return Ok(all);
        }
        all.extend(values.into_iter().map(&number));
    }
}

/// The groups of a column and their pages.
fn column(chunks: &Chunks, metadata: &ParquetMetaData, number: usize) -> Result<Column, String> {
    let mut groups = Vec::new();
    let mut first = 0_usize;
    for group in metadata.row_groups() {
        let chunk = group.columns().get(number).ok_or("is damaged: a column is missing")?;
        let rows = u64::try_from(group.num_rows()).map_err(|_| "is damaged: it has no rows")?;
        let offset = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        let start = u64::try_from(offset).map_err(|_| "is damaged: a column begins nowhere")?;
        let size = u64::try_from(chunk.compressed_size()).map_err(|_| "is damaged")?;
        let end = start.checked_add(size).filter(|&end| end <= chunks.length);
        let end = end.ok_or("is truncated: a column ends behind its end")?;
        let pages = pages::walk(&chunks.file, start, end, rows)?;
        // As many as its pages have.
        let rows = rows as usize;
        groups.push(Group { first, rows, pages });
        first += rows;
    }
    Ok(Column { number, groups })
}

/// The column of classes and their names: the first that Hugging Face's metadata call so, else one by
/// its name.
fn classes(
    metadata: &ParquetMetaData,
    flat: &[(usize, String, Type)],
) -> (Option<usize>, Vec<String>) {
    let is_number = |kind: Type| matches!(kind, Type::INT32 | Type::INT64);
    let find = |name: &str| {
        flat.iter().find(|(_, path, kind)| path == name && is_number(*kind)).map(|c| c.0)
    };
    let pairs = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    let text =
        pairs.filter(|pair| pair.key == "huggingface").find_map(|pair| pair.value.as_deref());
    let info: Value = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let features = info.pointer("/info/features").and_then(Value::as_object);
    let named = features.into_iter().flatten().filter(|(_, f)| f["_type"] == "ClassLabel");
    let mut named: Vec<_> = named.filter_map(|(name, f)| Some((name, f, find(name)?))).collect();
    let place = |name: &str| LABELS.iter().position(|known| *known == name).unwrap_or(LABELS.len());
    named.sort_by_key(|(name, ..)| place(name));
    if let Some((_, feature, column)) = named.first() {
        let names = feature["names"].as_array().into_iter().flatten();
        let names = names.map(|name| name.as_str().unwrap_or_default().to_owned()).collect();
        return (Some(*column), names);
    }
    (LABELS.iter().find_map(|name| find(name)), Vec::new())
}
