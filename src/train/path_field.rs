//! A path as a field of a JSON file: text, or, where it is none, its bytes, which serde refuses.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Field {
    Text(String),
    Bytes(Vec<u8>),
}

pub(super) fn serialize<S: Serializer>(
    path: &Option<PathBuf>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let field = path.as_ref().map(|path| match path.to_str() {
        Some(text) => Field::Text(text.to_owned()),
        None => Field::Bytes(path.as_os_str().as_encoded_bytes().to_vec()),
    });
    field.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    let field = Option::<Field>::deserialize(deserializer)?;
    Ok(field.map(|field| match field {
        Field::Text(text) => text.into(),
        Field::Bytes(bytes) => os_string(bytes).into(),
    }))
}

#[cfg(unix)]
fn os_string(bytes: Vec<u8>) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

/// Bytes of another system's path name nothing here; what can be read of them is at least shown.
#[cfg(not(unix))]
fn os_string(bytes: Vec<u8>) -> OsString {
    String::from_utf8_lossy(&bytes).into_owned().into()
}
