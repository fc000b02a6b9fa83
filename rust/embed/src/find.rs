//! Where models lie that the Hugging Face tools have downloaded: <https://huggingface.co/docs/huggingface_hub/guides/manage-cache>.

use std::path::PathBuf;

use super::folder::Folder;

/// The model that is meant where none is named.
pub const DEFAULT_MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// The whole name of a model: one without an owner is of sentence-transformers.
#[must_use]
pub fn full_name(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { format!("sentence-transformers/{name}") }
}

/// Whether this can be the name of a model, rather than a path.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    name.split('/').count() <= 2 && name.split('/').all(part)
}

/// The folder of a model in the cache, if all of it is there.
#[must_use]
pub fn in_hub_cache(name: &str) -> Option<PathBuf> {
    let model = hub_cache()?.join(format!("models--{}", full_name(name).replace('/', "--")));
    let revision = std::fs::read_to_string(model.join("refs").join("main")).ok()?;
    let folder = model.join("snapshots").join(revision.trim());
    Folder::is_whole(&folder).then_some(folder)
}

/// The cache's folder, as the environment says.
fn hub_cache() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("HF_HUB_CACHE")
        .or_else(|| variable("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache/huggingface/hub")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths() {
        for name in ["all-MiniLM-L6-v2", "BAAI/bge-small-en-v1.5", "a_b/c.d"] {
            assert!(is_name(name), "{name}");
        }
        for path in ["", "/models/x", "./x", "../x", "a/b/c", "a//b", "a/", "~/x", "C:\\x", "a b", "a/.."] {
            assert!(!is_name(path), "{path}");
        }
        assert_eq!(full_name("all-MiniLM-L6-v2"), DEFAULT_MODEL);
        assert_eq!(full_name("BAAI/bge-small-en-v1.5"), "BAAI/bge-small-en-v1.5");
    }
}
