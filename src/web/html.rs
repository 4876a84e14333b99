//! One file of everything: the frame of a page, its data and its scripts.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use minijinja::value::Value;
use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

const FRAME: &str = include_str!("../../assets/web/frame.html");
const STYLES: [&str; 2] =
    [include_str!("../../assets/report/style.css"), include_str!("../../assets/web/page.css")];
const RANDOM: &str = include_str!("../../assets/web/random.js");
const REPLAY: &str = include_str!("../../assets/web/replay.js");
const COMMON: &str = include_str!("../../assets/web/common.js");

/// A page.
#[derive(Debug)]
pub(super) struct Html<'a> {
    pub(super) title: &'a str,
    /// Its markup.
    pub(super) body: &'static str,
    /// What it does.
    pub(super) script: &'static str,
    /// Base64 of what [`pack`] made.
    pub(super) data: &'a str,
}

impl Html<'_> {
    /// The whole file. Its content security policy forbids every request, and every script whose hash it
    /// does not name, whatever a text smuggles in.
    ///
    /// # Errors
    /// None but for bugs of the template.
    pub(super) fn render(&self) -> Result<String> {
        let bug = |error: minijinja::Error| {
            Error::file("frame.html", format!("cannot be filled in, which is a bug: {error:#}"))
        };
        let trusted = |text: &str| Value::from_safe_string(text.to_owned());
        // As it stands between the tags.
        let scripts = [RANDOM, REPLAY, COMMON, self.script].map(|text| format!("\n{text}"));
        let hash = |text: &String| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
        let hashes = scripts.each_ref().map(hash).join(" ");
        let [random, replay, common, script] = &scripts;
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.add_template("frame.html", FRAME).map_err(bug)?;
        let rendered = templates.get_template("frame.html").and_then(|frame| {
            frame.render(context! {
                title => self.title,
                program => crate::PROGRAM,
                scripts => trusted(&hashes),
                style => trusted(&format!("\n{}", STYLES.concat())),
                body => trusted(self.body),
                data => trusted(self.data),
                random => trusted(random),
                replay => trusted(replay),
                common => trusted(common),
                script => trusted(script),
            })
        });
        rendered.map_err(bug)
    }
}

/// Base64 of gzip of the length of the JSON (u32, little-endian), the JSON, and bytes that it refers to.
pub(super) fn pack(about: &impl Serialize, bytes: &[u8]) -> String {
    let json = serde_json::to_vec(about).expect("plain data");
    let length = u32::try_from(json.len()).expect("programs are some hundred kilobytes");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    [&length.to_le_bytes()[..], &json, bytes]
        .iter()
        .try_for_each(|part| gzip.write_all(part))
        .and_then(|()| gzip.finish())
        .map(|packed| STANDARD.encode(packed))
        .expect("memory does not fail to be written to")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_hostile_title_stays_a_text() {
        let title = "</script><script>alert(1)</script> \" {{ 7 * 7 }} <!-- &";
        let html = Html { title, body: "<main></main>", script: "main();", data: "AAAA" };
        let html = html.render().unwrap();
        assert!(!html.contains("<script>alert"), "{html}");
        assert_eq!(html.matches("{{ 7 * 7 }}").count(), 2);
        assert_eq!(html.matches("</script>").count(), 5);
    }
}
