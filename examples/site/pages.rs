//! Markdown to pages: titles, anchors, links between pages, images.
//!
//! The first page is `docs/README.md`. The files of `docs/` that it links to are the others, in the order of
//! these links. A page's title is its first heading, its description the paragraph after that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use dcgan::error::{Error, Result};
use minijinja::value::Serde;
use minijinja::{Environment, context};
use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};
use serde::Serialize;

/// The folder of pages, and the file in it that lists the others.
const FOLDER: &str = "docs";
const FIRST: &str = "docs/README.md";

/// The project's README, which becomes a page too.
const REFERENCE: &str = "README.md";

const TEMPLATE: &str = include_str!("page.html");
const STYLE: [&str; 2] = [include_str!("../../assets/report/style.css"), include_str!("style.css")];

/// A page, as templates see it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Page {
    /// Its Markdown, by its path in the project.
    pub(crate) source: String,
    /// Its name in the site.
    pub(crate) file: String,
    /// Its first heading.
    pub(crate) title: String,
    /// Its first paragraph.
    pub(crate) description: String,
}

/// The events of a text; tables are the only extension.
pub(crate) fn events(text: &str) -> Vec<Event<'_>> {
    Parser::new_ext(text, Options::ENABLE_TABLES).collect()
}

/// The name of a heading in links, as code hosts make it: lowercase letters, digits, hyphens and underscores,
/// with a hyphen for each space.
pub(crate) fn slug(heading: &str) -> String {
    let kept = |c: char| c.is_alphanumeric() || "-_ ".contains(c);
    heading.to_lowercase().chars().filter(|&c| kept(c)).collect::<String>().replace(' ', "-")
}

/// The text of events, without their marks.
fn plain(events: &[Event<'_>]) -> String {
    let each = events.iter().map(|event| match event {
        Event::Text(text) | Event::Code(text) => text.as_ref(),
        Event::SoftBreak | Event::HardBreak => " ",
        _ => "",
    });
    each.collect()
}

/// The events up to the end of the element that begins before them.
fn inside<'a, 'b>(events: &'a [Event<'b>], end: TagEnd) -> &'a [Event<'b>] {
    let length = events.iter().position(|event| matches!(event, Event::End(tag) if *tag == end));
    &events[..length.unwrap_or(events.len())]
}

/// The headings of a text with their anchors; those of the same name are numbered, as on code hosts.
pub(crate) fn headings(events: &[Event<'_>]) -> Vec<(HeadingLevel, String, String)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for (i, event) in events.iter().enumerate() {
        if let Event::Start(Tag::Heading { level, .. }) = event {
            let text = plain(inside(&events[i + 1..], TagEnd::Heading(*level)));
            let anchor = slug(&text);
            let count = counts.entry(anchor.clone()).or_default();
            let anchor = if *count == 0 { anchor } else { format!("{anchor}-{count}") };
            *count += 1;
            found.push((*level, text, anchor));
        }
    }
    found
}

/// A relative link from the file `from`, as a path in the project and an anchor; `None` for an address.
pub(crate) fn target(from: &str, link: &str) -> Option<(String, Option<String>)> {
    let is_address = link.split_once(':').is_some_and(|(scheme, _)| !scheme.contains(['/', '#']));
    if is_address {
        return None;
    }
    let (path, anchor) = match link.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor.to_owned())),
        None => (link, None),
    };
    if path.is_empty() {
        return Some((from.to_owned(), anchor));
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some((parts.join("/"), anchor))
}

fn read(root: &Path, file: &str) -> Result<String> {
    let path = root.join(file);
    fs::read_to_string(&path).map_err(|e| Error::file(path, format!("cannot be read: {e}")))
}

/// The pages of the project at `root`, in order.
///
/// # Errors
/// [`Error::File`] if a page cannot be read, or has no title and description.
pub(crate) fn pages(root: &Path) -> Result<Vec<Page>> {
    let first = read(root, FIRST)?;
    let mut sources = vec![FIRST.to_owned()];
    for event in events(&first) {
        let Event::Start(Tag::Link { dest_url, .. }) = event else { continue };
        let Some((path, _)) = target(FIRST, &dest_url) else { continue };
        let is_page = path.starts_with(FOLDER) && path.ends_with(".md");
        if is_page && !sources.contains(&path) {
            sources.push(path);
        }
    }
    sources.push(REFERENCE.into());
    let each = sources.into_iter().map(|source| {
        let text = read(root, &source)?;
        let events = events(&text);
        let titles = headings(&events);
        let [(HeadingLevel::H1, title, _), ..] = &titles[..] else {
            return Err(Error::file(root.join(source), "does not begin with a title: # TITLE"));
        };
        let paragraph = events.iter().position(|e| *e == Event::Start(Tag::Paragraph));
        let Some(paragraph) = paragraph else {
            return Err(Error::file(root.join(source), "has no first paragraph, its description"));
        };
        let description = plain(inside(&events[paragraph + 1..], TagEnd::Paragraph));
        let (title, file) = match source.as_str() {
            FIRST => (title.clone(), "index.html".into()),
            REFERENCE => ("Reference: README".into(), "reference.html".into()),
            _ => {
                let name = source.strip_prefix("docs/").unwrap_or(&source);
                (title.clone(), name.replace('/', "-").replace(".md", ".html"))
            }
        };
        Ok(Page { source, file, title, description })
    });
    each.collect()
}

/// The Markdown of a page as HTML.
struct Renderer<'a> {
    root: &'a Path,
    pages: &'a [Page],
    /// What links to other files of the project begin with.
    source: Option<&'a str>,
    /// Images of the pages, by their paths in the project and in the site.
    images: BTreeSet<(String, String)>,
}

impl Renderer<'_> {
    /// A link of a page for the site; `None` if it leads nowhere there.
    fn link(&self, page: &Page, link: &str) -> Option<String> {
        let Some((path, anchor)) = target(&page.source, link) else { return Some(link.into()) };
        let anchor = anchor.map(|anchor| format!("#{anchor}")).unwrap_or_default();
        if let Some(page) = self.pages.iter().find(|page| page.source == path) {
            return Some(page.file.clone() + &anchor);
        }
        match path.strip_prefix("docs/") {
            Some(file) if file.ends_with(".html") => Some(file.to_owned() + &anchor),
            _ => self.source.map(|source| format!("{source}{path}{anchor}")),
        }
    }

    /// An image, with its size, so that the text below it does not move when it arrives.
    fn image(&mut self, page: &Page, link: &str, alt: &str) -> Result<String> {
        let Some((path, _)) = target(&page.source, link) else {
            let what = format!("shows an image from elsewhere: {link}");
            return Err(Error::file(self.root.join(&page.source), what));
        };
        let file = self.root.join(&path);
        let (width, height) = image::image_dimensions(&file)
            .map_err(|e| Error::file(file, format!("is no image that can be shown: {e}")))?;
        let name = path.strip_prefix("docs/").unwrap_or(&path).to_owned();
        let mut tag = format!("<img src=\"{name}\" width=\"{width}\" height=\"{height}\" alt=\"");
        let alt = [Event::Text(alt.into())];
        let mut escaped = String::new();
        html::push_html(&mut escaped, alt.into_iter());
        tag += &escaped.replace('"', "&quot;");
        tag += "\" loading=\"lazy\">";
        self.images.insert((path, name));
        Ok(tag)
    }

    /// The text of a page.
    fn body(&mut self, page: &Page, text: &str) -> Result<String> {
        let events = events(text);
        let mut anchors = headings(&events).into_iter();
        let mut links = Vec::new();
        let mut out = Vec::new();
        let mut i = 0;
        while i < events.len() {
            match &events[i] {
                Event::Start(Tag::Heading { level, .. }) => {
                    let id = anchors.next().map(|(.., anchor)| CowStr::from(anchor));
                    let (classes, attrs) = (Vec::new(), Vec::new());
                    out.push(Event::Start(Tag::Heading { level: *level, id, classes, attrs }));
                }
                Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                    let link = self.link(page, dest_url);
                    links.push(link.is_some());
                    if let Some(link) = link {
                        let (title, id) = (title.clone(), id.clone());
                        let tag =
                            Tag::Link { link_type: *link_type, dest_url: link.into(), title, id };
                        out.push(Event::Start(tag));
                    }
                }
                Event::End(TagEnd::Link) => {
                    if links.pop() == Some(true) {
                        out.push(Event::End(TagEnd::Link));
                    }
                }
                Event::Start(Tag::Image { dest_url, .. }) => {
                    let alt = inside(&events[i + 1..], TagEnd::Image);
                    let image = self.image(page, dest_url, &plain(alt))?;
                    out.push(Event::InlineHtml(image.into()));
                    i += alt.len() + 1;
                }
                Event::Start(Tag::Table(columns)) => {
                    out.push(Event::Html("<div class=\"scroll\">".into()));
                    out.push(Event::Start(Tag::Table(columns.clone())));
                }
                Event::End(TagEnd::Table) => {
                    out.extend([Event::End(TagEnd::Table), Event::Html("</div>\n".into())]);
                }
                Event::Html(tag) | Event::InlineHtml(tag) => {
                    let what = format!("has HTML in it, which pages do without: {tag}");
                    return Err(Error::file(self.root.join(&page.source), what));
                }
                event => out.push(event.clone()),
            }
            i += 1;
        }
        let mut body = String::new();
        html::push_html(&mut body, out.into_iter());
        Ok(body)
    }
}

/// Writes the site of the project at `root` into the folder `out`; returns the names of its pages. Links to files
/// that are no pages begin with `source`; without it they are plain text.
///
/// # Errors
/// [`Error::File`] if a page or an image cannot be read, or the site cannot be written.
pub(crate) fn build(root: &Path, out: &Path, source: Option<&str>) -> Result<Vec<String>> {
    let pages = pages(root)?;
    let mut environment = Environment::new();
    let broken = |e: minijinja::Error| Error::file("page.html", e);
    environment.add_template("page.html", TEMPLATE).map_err(broken)?;
    let template = environment.get_template("page.html").map_err(broken)?;

    let mut renderer = Renderer { root, pages: &pages, source, images: BTreeSet::new() };
    let mut files: Vec<(PathBuf, Vec<u8>)> = vec![("style.css".into(), STYLE.concat().into())];
    for (i, page) in pages.iter().enumerate() {
        let body = renderer.body(page, &read(root, &page.source)?)?;
        let Page { file, title, description, .. } = page;
        let (next, is_first) = (Serde(pages.get(i + 1)), i == 0);
        let pages = Serde(&pages);
        let text = template
            .render(context! { file, title, description, body, pages, next, is_first })
            .map_err(broken)?;
        files.push((file.into(), text.into()));
    }
    for (path, name) in &renderer.images {
        files.push((name.into(), load(&root.join(path))?));
    }
    // Pages that other commands made.
    let folder = root.join(FOLDER);
    let entries = fs::read_dir(&folder).map_err(|e| Error::file(&folder, e))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|ending| ending == "html")
            && let Some(name) = path.file_name()
        {
            files.push((name.into(), load(&path)?));
        }
    }
    for (name, bytes) in files {
        let path = out.join(name);
        let folder = path.parent().unwrap_or(out);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, bytes))
            .map_err(|e| Error::file(&path, format!("cannot be written: {e}")))?;
    }
    Ok(pages.into_iter().map(|page| page.file).collect())
}

fn load(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| Error::file(path, format!("cannot be read: {e}")))
}
