//! Labels in a table beside a set: CSV, or blank-separated as CelebA's lists.
//!
//! | looks like | is |
//! | --- | --- |
//! | `image_id,Smiling` / `000001.jpg,1` / … | CSV: commas, semicolons or tabs; the first line is a heading unless it names an image |
//! | `202599` / `5_o_Clock_Shadow … Young` / `000001.jpg -1 … 1` / … | `list_attr_celeba.txt`: the number of images, the columns, a line for each image |
//! | `000001.jpg 2880` / … | `identity_CelebA.txt`: no heading |
//!
//! The column that names the images is the one whose values are names of images of the set: with or
//! without folders and endings, as long as only one image can be meant.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::PathBuf;

use csv::{ReaderBuilder, StringRecord};
use serde::{Deserialize, Serialize};

use super::classes::Classes;
use super::messages::count;
use super::store::{MAX_FILE, key};
use crate::error::{Error, Result};
use crate::files::cannot;

/// Rows that decide which column names the images.
const PROBED: usize = 200;

/// The most different values that are classes.
const MOST_CLASSES: usize = 10_000;

/// A table of labels, and which of its columns the classes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelTable {
    /// The file.
    pub file: PathBuf,
    /// The name of the column; `None` for the only one beside the images' names.
    pub column: Option<String>,
}

/// What stands between the values of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Separator {
    Byte(u8),
    Blanks,
}

/// Takes a row and the number of its line, and tells whether to go on.
type Take<'t> = &'t mut dyn FnMut(u64, &[&str]) -> Result<bool, String>;

/// A table's text, of which only the heading has been read.
struct Table<'a> {
    rows: &'a str,
    separator: Separator,
    columns: Vec<String>,
    /// The number of the line that `rows` begins with.
    line: u64,
}

/// Finds images by what a table calls them.
struct Names<'a> {
    names: &'a [String],
    /// The last parts of their names without endings, sorted, and which image it is.
    stems: Vec<(String, u32)>,
}

/// The part of a name behind the container that it lies in: `a.png` of `shard.tar:a.png`.
fn inner(name: &str) -> &str {
    super::part::container(name).map_or(name, |(_, inner)| inner)
}

/// The last part of a name, without its ending.
fn stem(name: &str) -> &str {
    let file = name.rsplit('/').next().unwrap_or(name);
    match file.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => file,
    }
}

/// A name without its ending.
fn bare(name: &str) -> &str {
    let folder = name.len() - name.rsplit('/').next().unwrap_or(name).len();
    &name[..folder + stem(name).len()]
}

/// Whether one of two paths is the end of the other.
fn is_end(a: &str, b: &str) -> bool {
    let ends = |long: &str, short: &str| {
        long.strip_suffix(short).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
    };
    ends(a, b) || ends(b, a)
}

impl<'a> Names<'a> {
    fn new(names: &'a [String]) -> Self {
        let mut stems: Vec<_> =
            names.iter().zip(0..).map(|(name, i)| (stem(inner(name)).to_owned(), i)).collect();
        stems.sort_unstable();
        Self { names, stems }
    }

    /// The image that a table calls `called`; `Err` where it may be several.
    fn find(&self, called: &str) -> Result<Option<usize>, [usize; 2]> {
        let called = key(&called.trim().replace('\\', "/"));
        if called.is_empty() {
            return Ok(None);
        }
        // A name without an ending may hold dots: `v1.2` of `v1.2.png`.
        let file = called.rsplit('/').next().unwrap_or(&called);
        let mut found: Vec<usize> = Vec::new();
        for wanted in [stem(file), file] {
            let start = self.stems.partition_point(|(stem, _)| stem.as_str() < wanted);
            let same = self.stems[start..].iter().take_while(|(stem, _)| stem == wanted);
            for &(_, index) in same {
                let name = key(inner(&self.names[index as usize]));
                if is_end(&name, &called) || is_end(bare(&name), &called) {
                    found.push(index as usize);
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            [first, second, ..] => {
                let is_it = |&&index: &&usize| key(inner(&self.names[index])) == called;
                found.iter().find(is_it).map(|&i| Some(i)).ok_or([*first, *second])
            }
        }
    }
}

impl<'a> Table<'a> {
    /// Reads the heading of a table.
    fn new(text: &'a str, is_image: impl Fn(&str) -> bool) -> Result<Self, String> {
        let text = text.trim_start_matches(['\u{feff}', '\n', '\r']);
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        if first.trim().is_empty() {
            return Err("is empty".into());
        }
        // CelebA's: the number of images, then the columns. The number may be the name of the last image.
        let is_count = first.trim().bytes().all(|b| b.is_ascii_digit());
        let third = rest.lines().nth(1).map_or(0, |row| row.split_whitespace().count());
        if is_count && third > 1 {
            let (names, rows) = rest.split_once('\n').unwrap_or((rest, ""));
            let mut columns: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
            let values = rows.lines().next().map_or(0, |row| row.split_whitespace().count());
            if values == columns.len() + 1 {
                columns.insert(0, "image".into());
            }
            return Ok(Self { rows, separator: Separator::Blanks, columns, line: 3 });
        }
        let occurs = |byte: &u8| first.bytes().filter(|b| b == byte).count();
        let most = [b'\t', b';', b','].into_iter().max_by_key(occurs).filter(|b| occurs(b) > 0);
        let separator = most.map_or(Separator::Blanks, Separator::Byte);
        let mut table = Self { rows: text, separator, columns: Vec::new(), line: 1 };
        let mut heading = Vec::new();
        table.each(&mut |_, row| {
            heading = row.iter().map(|value| value.trim().to_owned()).collect();
            Ok(false)
        })?;
        if heading.iter().any(|value| is_image(value)) {
            table.columns = (1..=heading.len()).map(|i| i.to_string()).collect();
        } else {
            table.columns = heading;
            table.rows = rest;
            table.line = 2;
        }
        Ok(table)
    }

    /// Passes on each row with the number of its line, until `f` returns false.
    fn each(&self, f: Take<'_>) -> Result<(), String> {
        match self.separator {
            Separator::Blanks => {
                for (line, row) in (self.line..).zip(self.rows.lines()) {
                    let row: Vec<&str> = row.split_whitespace().collect();
                    if !row.is_empty() && !f(line, &row)? {
                        return Ok(());
                    }
                }
            }
            Separator::Byte(delimiter) => {
                let mut reader = ReaderBuilder::new()
                    .delimiter(delimiter)
                    .has_headers(false)
                    .flexible(true)
                    .from_reader(self.rows.as_bytes());
                let mut row = StringRecord::new();
                loop {
                    match reader.read_record(&mut row) {
                        Ok(false) => return Ok(()),
                        Ok(true) => {}
                        Err(e) => return Err(format!("cannot be read as CSV ({e})")),
                    }
                    let line = self.line - 1 + row.position().map_or(1, csv::Position::line);
                    let values: Vec<&str> = row.iter().collect();
                    if !values.iter().all(|value| value.trim().is_empty()) && !f(line, &values)? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// The column that names images; `None` if none does.
    fn name_column(&self, names: &Names<'_>) -> Result<Option<usize>, String> {
        // Different images, as a column of numbers may name a few too; and names that fit several.
        let mut hits = vec![(HashSet::new(), 0_usize); self.columns.len()];
        let mut rows = 0;
        self.each(&mut |_, row| {
            for ((found, several), value) in hits.iter_mut().zip(row) {
                match names.find(value) {
                    Ok(Some(image)) => drop(found.insert(image)),
                    Err(_) => *several += usize::from(value.contains(['.', '/'])),
                    Ok(None) => {}
                }
            }
            rows += 1;
            Ok(rows < PROBED)
        })?;
        let score = |i: usize| (hits[i].0.len(), hits[i].1);
        let best = (0..hits.len()).max_by_key(|&i| (score(i), usize::MAX - i));
        Ok(best.filter(|&i| score(i) > (0, 0)))
    }

    /// The column that is wanted, of those beside `image`.
    fn value_column(&self, image: Option<usize>, wanted: Option<&str>) -> Result<usize, String> {
        let others = || (0..self.columns.len()).filter(|&i| Some(i) != image);
        let list = || {
            let names: Vec<&str> = others().map(|i| self.columns[i].as_str()).collect();
            match names.len() {
                0..=50 => names.join(", "),
                more => format!("{}, … ({more} in all)", names[..50].join(", ")),
            }
        };
        match wanted {
            Some(wanted) => {
                let is_it = |&i: &usize| self.columns[i] == wanted;
                let is_like = |&i: &usize| self.columns[i].eq_ignore_ascii_case(wanted);
                others()
                    .find(is_it)
                    .or_else(|| others().find(is_like))
                    .ok_or_else(|| format!("has no column {wanted:?}; its columns are {}", list()))
            }
            None => match others().collect::<Vec<_>>().as_slice() {
                [one] => Ok(*one),
                [] => Err("has no column beside the names of the images".into()),
                _ => Err(format!("has several columns; give one by `label_column`: {}", list())),
            },
        }
    }
}

/// The values of a column: those that occur, and which of them each image has.
struct Values {
    column: String,
    different: Vec<String>,
    of: Vec<Option<u32>>,
}

fn values(
    text: &str,
    names: &[String],
    wanted: Option<&str>,
    named: bool,
) -> Result<Values, String> {
    let names = Names::new(names);
    let table = Table::new(text, |value| matches!(names.find(value), Ok(Some(_))))?;
    let image = if named { table.name_column(&names)? } else { None };
    if named && image.is_none() {
        let mut first = String::new();
        table.each(&mut |line, row| {
            first = format!("line {line} is {:?}", row.iter().take(3).collect::<Vec<_>>());
            Ok(false)
        })?;
        return Err(format!(
            "names no image of DATA: {first}, and the first image is {:?}; give the folder whose \
             files it names",
            names.names.first().map_or("", String::as_str)
        ));
    }
    let column = table.value_column(image, wanted)?;
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut of = vec![None; if named { names.names.len() } else { 0 }];
    table.each(&mut |line, row| {
        let cell = |i: usize| {
            row.get(i).map(|value| value.trim()).ok_or_else(|| {
                let n = count(row.len(), "value");
                format!("has {n} in line {line}, and {} columns", table.columns.len())
            })
        };
        let index = match image {
            None => of.len(),
            Some(image) => match names.find(cell(image)?) {
                Ok(Some(index)) => index,
                // Of another part, or of images that were left out.
                Ok(None) => return Ok(true),
                Err([a, b]) => {
                    return Err(format!(
                        "has {:?} in line {line}, which may be {} or {}; name images with their \
                         folders",
                        cell(image)?,
                        names.names[a],
                        names.names[b]
                    ));
                }
            },
        };
        let value = cell(column)?;
        if value.is_empty() {
            return Err(format!("has no {} in line {line}", table.columns[column]));
        }
        let number = match numbers.get(value) {
            Some(&number) => number,
            None => {
                let next = numbers.len() as u32;
                numbers.insert(value.to_owned(), next);
                next
            }
        };
        if image.is_none() {
            of.push(Some(number));
        } else if of[index].replace(number).is_some_and(|before| before != number) {
            return Err(format!("has two labels for {} (line {line})", names.names[index]));
        }
        Ok(true)
    })?;
    if numbers.len() > MOST_CLASSES {
        return Err(format!(
            "has {} in the column {}, more than the {MOST_CLASSES} that can be classes; give another \
             by `label_column`",
            count(numbers.len(), "different value"),
            table.columns[column]
        ));
    }
    let mut different = vec![String::new(); numbers.len()];
    numbers.into_iter().for_each(|(value, number)| different[number as usize] = value);
    Ok(Values { column: table.columns[column].clone(), different, of })
}

impl Values {
    /// Classes in the order of their numbers, or else of their names. Of an attribute, which is -1 or
    /// 1, they are called by it.
    fn classes(self, by: String) -> Classes {
        let number = |value: &String| value.parse::<i64>().ok();
        let all_numbers = self.different.iter().all(|value| number(value).is_some());
        let place =
            |value: &String| (if all_numbers { number(value) } else { None }, value.clone());
        let order: BTreeMap<_, usize> = self.different.iter().map(place).zip(0..).collect();
        let names: Vec<String> = order.keys().map(|(_, value)| value.clone()).collect();
        let mut numbers = vec![0; names.len()];
        order.values().zip(0..).for_each(|(&old, new)| numbers[old] = new);
        let names = match names.as_slice() {
            [no, yes] if no == "-1" && yes == "1" => {
                vec![format!("not {}", self.column), self.column]
            }
            _ => names,
        };
        let labels = self.of.iter().flatten().map(|&value| numbers[value as usize]).collect();
        Classes { labels: Some(labels), names, by, ..Classes::default() }
    }
}

impl LabelTable {
    /// The classes of the images `names`. Those of `rows` have no names of their own: row i is image i.
    ///
    /// # Errors
    /// [`Error::File`] where the table cannot be read, or an image has no label in it.
    pub(super) fn classes(&self, names: &[String], rows: bool) -> Result<Classes> {
        let fail = |what: String| Error::file(&self.file, what);
        let values = values(&self.text()?, names, self.column.as_deref(), !rows).map_err(fail)?;
        if rows && values.of.len() != names.len() {
            return Err(fail(format!(
                "has {}, and DATA {}; one that lies as an array has a row for each image",
                count(values.of.len(), "row"),
                count(names.len(), "image")
            )));
        }
        let missing = values.of.iter().filter(|value| value.is_none()).count();
        if let Some(first) = values.of.iter().position(Option::is_none) {
            return Err(fail(format!(
                "has no label for {missing} of {} (the first: {}); add them, or remove the images",
                count(names.len(), "image"),
                names[first]
            )));
        }
        let file = self.file.file_name().unwrap_or(self.file.as_os_str()).to_string_lossy();
        if let [only] = values.different.as_slice() {
            let what = format!("all images have the same {} in {file} ({only})", values.column);
            return Ok(Classes::without(what));
        }
        let by = format!("{} of {file}", values.column);
        Ok(values.classes(by))
    }

    fn text(&self) -> Result<String> {
        let fail = |what: String| Error::file(&self.file, what);
        let io = |e: &std::io::Error| fail(cannot("be read", e));
        let metadata = fs::metadata(&self.file).map_err(|e| io(&e))?;
        if !metadata.is_file() {
            return Err(fail(
                "is no file; `labels` takes a table: CSV, or a list as of CelebA".into(),
            ));
        }
        if metadata.len() > MAX_FILE {
            return Err(fail(format!("is larger than {} MiB", MAX_FILE >> 20)));
        }
        let bytes = fs::read(&self.file).map_err(|e| io(&e))?;
        String::from_utf8(bytes).map_err(|_| {
            fail("is not UTF-8 text; `labels` takes a table: CSV, or a list as of CelebA".into())
        })
    }

    /// With a path that holds wherever the program runs.
    #[must_use]
    pub(super) fn absolute(self) -> Self {
        let file = std::path::absolute(&self.file).unwrap_or(self.file);
        Self { file, ..self }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn read(text: &str, names: &[&str], column: Option<&str>) -> Result<Classes, String> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let values = values(text, &names, column, true)?;
        assert!(values.of.iter().all(Option::is_some), "{:?}", values.of);
        Ok(values.classes(String::new()))
    }

    fn labels(text: &str, names: &[&str], column: Option<&str>) -> (Vec<u32>, Vec<String>) {
        let classes = read(text, names, column).unwrap();
        (classes.labels.unwrap(), classes.names)
    }

    #[test]
    fn tables_are_read_as_they_come() {
        let names = ["a/1.png", "a/2.png", "b/3.png"];
        let wanted = (vec![1, 0, 1], vec!["cat".to_owned(), "dog".to_owned()]);
        for text in [
            "id,kind\n3,dog\n2,cat\n1,dog\n",
            "\u{feff}kind;x;image\r\ndog;9;a/1.png\r\ncat;8;a/2.png\r\n\"dog\";7;b/3.png\r\nowl;7;no.png\r\n",
            "kind\tfile\ndog\tset/a/1.png\ncat\tset\\a\\2.png\n\ndog\t./b/3.png",
            "1.png,dog\n2.png,cat\n3.png,dog\n",
            "1.png dog\n2.png cat\n3.png dog\n",
        ] {
            let column = text.contains("kind").then_some("kind");
            assert_eq!(labels(text, &names, column), wanted, "{text}");
        }
        let celeba = "3\nBald Smiling \n1.png  1 -1\n2.png -1 -1\n3.png  1  1\n";
        let smiling = (vec![0, 0, 1], vec!["not Smiling".to_owned(), "Smiling".to_owned()]);
        assert_eq!(labels(celeba, &names, Some("smiling")), smiling);
        // A column of numbers that are names of images too.
        let both = "class,id\n1,1\n2,2\n1,3\n";
        assert_eq!(labels(both, &names, Some("class")).0, [0, 1, 0]);
        // Numbers are in the order of numbers, and what stands alone needs no name.
        let numbers = (vec![1, 0, 2], vec!["2".to_owned(), "10".to_owned(), "11".to_owned()]);
        assert_eq!(labels("1.png 10\n2.png 2\n3.png 11\n", &names, None), numbers);
        // Names that lie in archives.
        let shards = ["x-0.tar:1.png", "x-1.tar:a/2.png", "3.v2.png"];
        let found = labels("file,l\n1.png,x\na/2,y\n3.v2,y\n", &shards, None).0;
        assert_eq!(found, [0, 1, 1]);
    }

    #[test]
    fn what_a_table_lacks_is_said() {
        let names = ["a/1.png", "b/1.png", "b/2.png"];
        let says = |text: &str, column: Option<&str>, what: &str| {
            let error = read(text, &names, column).unwrap_err();
            assert!(error.contains(what), "{error}");
        };
        says("", None, "is empty");
        says("file,x,y\na/1.png,1,2\n", None, "give one by `label_column`: x, y");
        says("file,x,y\na/1.png,1,2\n", Some("z"), "no column \"z\"; its columns are x, y");
        says("file,x\n1.png,1\n", None, "may be a/1.png or b/1.png");
        says("file,x\nc/1.png,cat\nd/2.png,dog\n", None, "names no image of DATA: line 2 is");
        says("file,x\nb/2.png,1\nb/2.png,2\n", None, "two labels for b/2.png (line 3)");
        says("file,x\nb/2.png\n", None, "has 1 value in line 2, and 2 columns");
        says("file,x\nb/2.png,\n", None, "has no x in line 2");
        says("file\nb/2.png\n", None, "no column beside");
        let many: String = (0..10_001).map(|i| format!("b/2.png,{i}\n")).collect();
        says(&format!("file,x\n{many}"), None, "two labels");
    }
}
