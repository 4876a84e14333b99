//! The pages of `docs/` and README: links, commands, flags, paths and names in them are those of this program,
//! and the site that is made of them is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, Parser as _};
use dcgan::cli::Cli;
use dcgan::evaluation::METRICS;
use dcgan::train::PRESETS;
use pulldown_cmark::{CodeBlockKind, Event, Tag, TagEnd};
use tempfile::tempdir;

#[path = "../examples/site/pages.rs"]
mod pages;

/// A page that a command makes, and that may not be there.
const MADE: &str = "docs/avatars.html";

/// Folders whose paths are named in texts.
const FOLDERS: [&str; 7] =
    ["src/", "shaders/", "tests/", "examples/", "benches/", "assets/", ".ci/"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README and the pages, by their paths.
fn texts() -> Vec<(String, String)> {
    let mut names = vec!["README.md".to_owned()];
    let mut pages: Vec<PathBuf> =
        fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    pages.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    names.extend(pages.iter().map(|p| format!("docs/{}", p.file_name().unwrap().display())));
    assert!(names.len() > 10, "{names:?}");
    let text = |name: &String| fs::read_to_string(root().join(name)).unwrap();
    names.into_iter().map(|name| (name.clone(), text(&name))).collect()
}

/// The text of the code span or block that begins at `events[i]`, and the language of a block.
fn code(events: &[Event<'_>], i: usize) -> Option<(Option<String>, String)> {
    match &events[i] {
        Event::Code(text) => Some((None, text.to_string())),
        Event::Start(Tag::CodeBlock(kind)) => {
            let language = match kind {
                CodeBlockKind::Fenced(language) => language.to_string(),
                CodeBlockKind::Indented => String::new(),
            };
            let lines = events[i + 1..].iter().map_while(|event| match event {
                Event::Text(text) => Some(text.as_ref()),
                _ => None,
            });
            Some((Some(language), lines.collect()))
        }
        _ => None,
    }
}

/// The words of a command as a shell takes them apart, up to a pipe, redirection, comment or next command.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('#' | '|' | '>' | ';' | '&', None) if word.is_none() => break,
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The commands of a block that run this program, whole, without the prompt.
fn commands(block: &str) -> Vec<Vec<String>> {
    let lines = block.replace("\\\n", " ");
    let of_dcgan = lines.lines().filter_map(|line| {
        let line = line.strip_prefix("$ ").unwrap_or(line);
        line.starts_with("dcgan ").then(|| words(line))
    });
    of_dcgan.collect()
}

#[test]
fn links_and_anchors_lead_somewhere() {
    let texts = texts();
    let has_anchor = |path: &str, anchor: &str| {
        let text = fs::read_to_string(root().join(path)).unwrap_or_default();
        let headings = pages::headings(&pages::events(&text));
        path.ends_with(".md") && headings.iter().any(|(.., known)| known == anchor)
    };
    let mut broken = Vec::new();
    let mut count = 0;
    for (name, text) in &texts {
        for event in pages::events(text) {
            let Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) = event
            else {
                continue;
            };
            let Some((path, anchor)) = pages::target(name, &dest_url) else { continue };
            count += 1;
            let exists = path == MADE || root().join(&path).exists();
            let is_there = anchor.is_none_or(|anchor| has_anchor(&path, &anchor));
            if !exists || !is_there {
                broken.push(format!("{name}: {dest_url}"));
            }
        }
    }
    assert!(count > 100, "{count}");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn anchors_are_those_of_code_hosts() {
    for (heading, wanted) in [
        ("Training in stages", "training-in-stages"),
        ("What the discriminator has learned", "what-the-discriminator-has-learned"),
        ("D(x) and D(G(z))", "dx-and-dgz"),
        ("loss_d, loss_g", "loss_d-loss_g"),
        ("A run on disk – and off", "a-run-on-disk--and-off"),
    ] {
        assert_eq!(pages::slug(heading), wanted);
    }
    let found = pages::headings(&pages::events("# A\n\n## B `x`\n\n## B x\n\n### A\n"));
    let anchors: Vec<_> = found.iter().map(|(.., anchor)| anchor.as_str()).collect();
    assert_eq!(anchors, ["a", "b-x", "b-x-1", "a-1"]);
}

#[test]
fn every_command_is_one_of_this_program() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for (name, text) in texts() {
        let events = pages::events(&text);
        for i in 0..events.len() {
            let Some((Some(_), block)) = code(&events, i) else { continue };
            for words in commands(&block) {
                count += 1;
                if let Err(error) = Cli::try_parse_from(&words)
                    && error.use_stderr()
                {
                    let error = error.to_string();
                    wrong.push(format!("{name}: {}: {error}", words.join(" ")));
                }
            }
        }
    }
    assert!(count > 100, "{count}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn commands_are_taken_apart_as_by_a_shell() {
    let block = "$ dcgan walk 'a b' --out x.webp   # a film\ncargo run\ndcgan log RUN > log.csv\n\
                 dcgan sample RUN --text \"red hair, blue\" \\\n    --seeds 0-3 | less\n";
    let wanted = [
        vec!["dcgan", "walk", "a b", "--out", "x.webp"],
        vec!["dcgan", "log", "RUN"],
        vec!["dcgan", "sample", "RUN", "--text", "red hair, blue", "--seeds", "0-3"],
    ];
    assert_eq!(commands(block), wanted);
}

/// Flags in text, apart from those behind the name of another program.
#[test]
fn every_flag_is_one_of_this_program() {
    let command = Cli::command();
    let flags_of = |command: &clap::Command| -> BTreeSet<String> {
        let longs = command.get_arguments().flat_map(|arg| {
            let all = arg.get_long_and_visible_aliases().unwrap_or_default();
            all.into_iter().map(|long| format!("--{long}")).collect::<Vec<_>>()
        });
        longs.chain(["--help".into(), "--version".into()]).collect()
    };
    let by_command: BTreeMap<&str, BTreeSet<String>> =
        command.get_subcommands().map(|c| (c.get_name(), flags_of(c))).collect();
    let all: BTreeSet<&String> = by_command.values().flatten().collect();
    let mut unknown = Vec::new();
    let mut count = 0;
    for (name, text) in texts() {
        for event in pages::events(&text) {
            let Event::Code(span) = event else { continue };
            let words: Vec<&str> = span.split_whitespace().collect();
            let of_one = match words[..] {
                ["dcgan", command, ..] => by_command.get(command),
                [first, ..] if first.starts_with("--") => None,
                _ => continue,
            };
            for word in words.iter().filter(|word| word.starts_with("--")) {
                let flag = word.split(['=', ',', ';', ':']).next().unwrap_or(word).to_owned();
                count += 1;
                let is_known = match of_one {
                    Some(flags) => flags.contains(&flag),
                    None => all.contains(&flag),
                };
                if !is_known {
                    unknown.push(format!("{name}: {flag} in {span}"));
                }
            }
        }
    }
    assert!(count > 100, "{count}");
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn every_path_of_the_project_exists() {
    let is_end = |c: char| c.is_whitespace() || "`()|,\"".contains(c);
    let mut count = 0;
    let mut missing = Vec::new();
    for (name, text) in texts() {
        let inside = text.split(is_end).map(|word| word.trim_end_matches(['.', ':', ';']));
        for path in inside.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder))) {
            count += 1;
            if !root().join(path).exists() {
                missing.push(format!("{name}: {path}"));
            }
        }
    }
    assert!(count > 40, "{count}");
    assert!(missing.is_empty(), "{missing:#?}");
}

/// A heading, paragraph, item or row of a page, with its code.
#[derive(Default)]
struct Block {
    is_heading: bool,
    spans: Vec<String>,
    /// The Rust after it.
    excerpt: Option<String>,
}

fn blocks(events: &[Event<'_>]) -> Vec<Block> {
    let mut blocks = vec![Block::default()];
    for (i, event) in events.iter().enumerate() {
        match event {
            Event::Start(Tag::Paragraph | Tag::Item | Tag::TableRow | Tag::Heading { .. })
            | Event::End(TagEnd::Item) => {
                let is_heading = matches!(event, Event::Start(Tag::Heading { .. }));
                blocks.push(Block { is_heading, ..Block::default() });
            }
            Event::Code(text) => blocks.last_mut().unwrap().spans.push(text.to_string()),
            Event::Start(Tag::CodeBlock(_)) => {
                let (language, text) = code(events, i).unwrap();
                if language.as_deref() == Some("rust") {
                    blocks.last_mut().unwrap().excerpt = Some(text);
                }
            }
            _ => {}
        }
    }
    blocks
}

/// Whether `name` is a word of `text`.
fn has_word(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let (before, after) =
            (text[..at].chars().next_back(), text[at + name.len()..].chars().next());
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// What the page for developers says of files is in them: the names in a paragraph are in the files that it names,
/// else in those that were named last in its section, and a block of Rust after it is theirs line by line.
#[test]
fn names_in_walks_through_the_source_are_there() {
    let text = fs::read_to_string(root().join("docs/extending.md")).unwrap();
    let is_path = |span: &&String| FOLDERS.iter().any(|folder| span.starts_with(folder));
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let (mut names, mut lines) = (0, 0);
    let mut missing = Vec::new();
    let mut paths: Vec<String> = Vec::new();
    for Block { is_heading, spans, excerpt } in blocks(&pages::events(&text)) {
        let named: Vec<String> = spans.iter().filter(is_path).cloned().collect();
        if is_heading || !named.is_empty() {
            paths = named;
        }
        let files = paths.iter().map(|path| root().join(path)).filter(|path| path.is_file());
        let sources: String = files.map(|path| fs::read_to_string(path).unwrap()).collect();
        if sources.is_empty() {
            assert!(excerpt.is_none(), "an excerpt without its file: {excerpt:?}");
            continue;
        }
        for span in spans.iter().filter(|span| !is_path(span)) {
            let span = span.trim_end_matches("()").trim_end_matches('!');
            for part in span.split("::").filter(|_| span.split("::").all(is_name)) {
                names += 1;
                if !has_word(&sources, part) {
                    missing.push(format!("{part} in {paths:?}"));
                }
            }
        }
        for line in excerpt.iter().flat_map(|text| text.lines()).map(str::trim) {
            lines += 1;
            let is_cut = line.is_empty() || line == "…";
            if !is_cut && !sources.lines().any(|real| real.trim() == line) {
                missing.push(format!("{line} in {paths:?}"));
            }
        }
    }
    assert!(names > 30 && lines > 10, "{names} {lines}");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_preset_and_metric_is_explained() {
    let read = |name: &str| fs::read_to_string(root().join("docs").join(name)).unwrap();
    let (presets, scores) = (read("presets.md"), read("evaluating.md"));
    let lacks = |text: &str, name: &str| !text.contains(&format!("`{name}`"));
    let missing: Vec<_> = PRESETS.iter().map(|p| p.name).filter(|p| lacks(&presets, p)).collect();
    assert!(missing.is_empty(), "docs/presets.md lacks {missing:?}");
    let missing: Vec<_> = METRICS.iter().map(|m| m.name).filter(|m| lacks(&scores, m)).collect();
    assert!(missing.is_empty(), "docs/evaluating.md lacks {missing:?}");
}

/// Every page is in the list of the first one, and has a description of a sentence or two.
#[test]
fn every_page_is_listed_and_described() {
    let listed = pages::pages(root()).unwrap();
    let sources: BTreeSet<&str> = listed.iter().map(|page| page.source.as_str()).collect();
    let names: Vec<_> = texts().into_iter().map(|(name, _)| name).collect();
    assert_eq!(sources, names.iter().map(String::as_str).collect());
    for page in &listed {
        assert!((40..=240).contains(&page.description.len()), "{page:?}");
    }
    let first: BTreeSet<&str> = listed.iter().map(|page| page.title.as_str()).collect();
    assert_eq!(first.len(), listed.len(), "two pages have one title");
}

#[test]
fn images_are_small() {
    let images = fs::read_dir(root().join("docs/images")).unwrap();
    let sizes: Vec<u64> = images.map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    assert!(sizes.len() > 3 && sizes.iter().sum::<u64>() <= 400 << 10, "{sizes:?}");
}

/// Elements that have no end.
const EMPTY: [&str; 7] = ["meta", "link", "img", "br", "hr", "input", "!doctype"];

/// The tags of a page with their attributes, in order.
type Tags = Vec<(String, BTreeMap<String, String>)>;

/// The tags of a page; an error says what is not well-formed.
fn tags(text: &str) -> Result<Tags, String> {
    let (mut open, mut found) = (Vec::<String>::new(), Vec::new());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        if before.contains('>') {
            return Err(format!("a bare > in {before:?}"));
        }
        let (tag, after) = after.split_once('>').ok_or("a tag without its end")?;
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            let last = open.pop();
            if last.as_deref() != Some(name) {
                return Err(format!("</{name}> ends {last:?}"));
            }
            continue;
        }
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut of_tag = BTreeMap::new();
        while let Some((key, after)) = attributes.split_once("=\"") {
            let (value, after) = after.split_once('"').ok_or(format!("a bare quote in <{tag}>"))?;
            of_tag.insert(key.trim().to_owned(), value.to_owned());
            attributes = after;
        }
        if !EMPTY.contains(&name) {
            open.push(name.to_owned());
        }
        found.push((name.to_owned(), of_tag));
    }
    match open.is_empty() {
        true => Ok(found),
        false => Err(format!("{open:?} do not end")),
    }
}

#[test]
fn pages_that_are_not_well_formed_are_noticed() {
    assert_eq!(tags("<!doctype html><p>a &gt; b<br><b class=\"x\">c</b></p>").unwrap().len(), 4);
    for wrong in ["<p>", "<p><b></p></b>", "</p>", "<p>a > b</p>", "<p", "<p class=\"x>y</p>"] {
        tags(wrong).unwrap_err();
    }
}

/// The site as its visitors get it: every page is well-formed, its links and images are there, nothing comes from
/// elsewhere, and nothing runs.
#[test]
fn the_site_is_whole() {
    let out = tempdir().unwrap();
    let files = pages::build(root(), out.path(), None).unwrap();
    assert!(files.len() > 10 && files[0] == "index.html", "{files:?}");
    let text = |name: &str| fs::read_to_string(out.path().join(name)).unwrap();
    let tags: BTreeMap<&str, _> = files
        .iter()
        .map(|name| (name.as_str(), tags(&text(name)).unwrap_or_else(|e| panic!("{name}: {e}"))))
        .collect();
    let mut count = 0;
    for (name, tags_of) in &tags {
        let ids: Vec<&String> = tags_of.iter().filter_map(|(_, a)| a.get("id")).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{name}: {ids:?}");
        let named = |tag: &str| tags_of.iter().filter(|(name, _)| name == tag).count();
        assert_eq!(
            [named("h1"), named("title"), named("nav"), named("script")],
            [1, 1, 1, 0],
            "{name}"
        );
        let description =
            tags_of.iter().find(|(_, a)| a.get("name").is_some_and(|n| n == "description"));
        assert!(!description.unwrap().1["content"].is_empty(), "{name}");
        for (tag, attributes) in tags_of {
            let Some(link) = attributes.get("href").or(attributes.get("src")) else { continue };
            if link.starts_with("https://") || link == "data:," {
                assert_eq!(tag, if link == "data:," { "link" } else { "a" }, "{name}: {link}");
                continue;
            }
            count += 1;
            let (path, anchor) = pages::target(name, link).unwrap();
            assert!(path == "avatars.html" || out.path().join(&path).is_file(), "{name}: {link}");
            if let Some(anchor) = anchor {
                let has = tags[path.as_str()].iter().any(|(_, a)| a.get("id") == Some(&anchor));
                assert!(has, "{name}: {link}");
            }
            if tag == "img" {
                assert!(!attributes["alt"].is_empty(), "{name}: {link} has no alternative text");
            }
        }
    }
    assert!(count > 200, "{count}");

    // With an address of sources, files that are no pages are links too.
    let address = "https://example.org/blob/main/";
    pages::build(root(), out.path(), Some(address)).unwrap();
    assert!(text("reference.html").contains(&format!("href=\"{address}examples/tape.rs\"")));
}

/// A page that would break the site is refused, with its name.
#[test]
fn pages_that_cannot_be_built_are_refused() {
    let place = tempdir().unwrap();
    let root = place.path();
    fs::create_dir(root.join("docs")).unwrap();
    let put = |name: &str, text: &str| fs::write(root.join(name), text).unwrap();
    put("README.md", "# R\n\nAbout.\n");
    put("docs/README.md", "# First\n\nSee [a](a.md).\n");
    for (text, wanted) in [
        ("No title.\n", "does not begin with a title"),
        ("## Second\n\nText.\n", "does not begin with a title"),
        ("# A\n\n- item\n", "no first paragraph"),
        ("# A\n\nText <b>bold</b>.\n", "HTML"),
        ("# A\n\nText ![x](x.png).\n", "x.png"),
        ("# A\n\nText ![x](https://example.org/x.png).\n", "from elsewhere"),
    ] {
        put("docs/a.md", text);
        let error = pages::build(root, &root.join("out"), None).unwrap_err().to_string();
        assert!(error.contains(wanted) && error.contains("docs"), "{error}");
    }
    put("docs/a.md", "# A & \\<b>\n\nA \"quoted\" text.\n\n| a |\n| --- |\n| [x](../src/x.rs) |\n");
    assert_eq!(
        pages::build(root, &root.join("out"), None).unwrap(),
        ["index.html", "a.html", "reference.html"]
    );
    let page = fs::read_to_string(root.join("out/a.html")).unwrap();
    assert!(page.contains("<title>A &amp; &lt;b&gt; · dcgan</title>"), "{page}");
    assert!(page.contains("content=\"A &quot;quoted&quot; text.\""), "{page}");
    assert!(page.contains("<td>x</td>") && page.contains("<div class=\"scroll\">"), "{page}");
}
