//! Inputs for the fuzz targets to begin with: what real servers wrote, in the form that each target reads.
//!
//! A target chooses a format by the first bytes of its input and puts the rest between a header and a footer, because hardly
//! any arbitrary bytes would have right ones. So headers and footers of real files are cut off here, and the choices put in
//! their place.

mod documents;
#[allow(unreachable_pub, reason = "the fuzz targets use it as well")]
#[path = "../../../fuzz/src/formats.rs"]
mod formats;
mod lucene;
mod records;
mod repositories;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use servers::{Fixture, fixture, fixtures_dir};

use crate::Result;

/// The corpora of all targets.
const CORPUS: &str = "fuzz/corpus";
/// Longer inputs are mutated too seldom where it matters.
const MAX_INPUT: usize = 16 << 10;
/// Inputs of each kind, of which the smallest are taken.
const PER_KIND: usize = 3;

/// Writes the inputs that are not there yet.
pub(crate) fn seed() -> Result<()> {
    let mut corpus = Corpus::default();
    documents::documents(&mut corpus)?;
    lucene::files(&mut corpus)?;
    repositories::metadata(&mut corpus)?;
    records::records(&mut corpus)?;
    corpus.write()
}

/// Inputs by target and name.
#[derive(Default)]
struct Corpus {
    inputs: BTreeMap<(&'static str, String), Vec<u8>>,
    /// The smallest inputs by target and kind.
    smallest: BTreeMap<(&'static str, String), Vec<Vec<u8>>>,
}

impl Corpus {
    /// Adds an input, unless it is too long.
    fn add(&mut self, target: &'static str, name: &str, input: Vec<u8>) {
        if input.len() <= MAX_INPUT {
            let name = name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
            self.inputs.insert((target, name), input);
        }
    }

    /// Adds an input of some kind, of which the smallest ones stay.
    fn add_of_kind(&mut self, target: &'static str, kind: &str, input: Vec<u8>) {
        if input.len() > MAX_INPUT {
            return;
        }
        let smallest = self.smallest.entry((target, kind.to_owned())).or_default();
        if !smallest.contains(&input) {
            smallest.push(input);
            smallest.sort_by_key(Vec::len);
            smallest.truncate(PER_KIND);
        }
    }

    fn write(mut self) -> Result<()> {
        for ((target, kind), inputs) in std::mem::take(&mut self.smallest) {
            for (number, input) in inputs.into_iter().enumerate() {
                self.add(target, &format!("{kind}-{number}"), input);
            }
        }
        for ((target, name), input) in self.inputs {
            let dir = Path::new(CORPUS).join(target);
            fs::create_dir_all(&dir)?;
            let path = dir.join(name);
            if !path.exists() {
                fs::write(path, input)?;
            }
        }
        Ok(())
    }
}

/// All fixtures with their names.
fn fixtures() -> Result<Vec<(String, Fixture)>> {
    let mut fixtures = Vec::new();
    for path in sorted(&fixtures_dir())? {
        if let Some(name) = path.file_name().and_then(|name| name.to_str())
            && path.join("about.json").exists()
        {
            fixtures.push((name.to_owned(), fixture(name)?));
        }
    }
    Ok(fixtures)
}

/// What is in a directory, in the order of the names.
fn sorted(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// All files below a directory.
fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in sorted(dir)? {
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}
