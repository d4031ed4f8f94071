//! The part of the contract that this release does not have. Deleting a line turns the member on; what is to be done
//! with it then is the reader's business.

/// Members that are named to callers as not supported, by path.
const UNSUPPORTED: &[&str] = &["compaction"];

pub(crate) fn is_unsupported(path: &str) -> bool {
    UNSUPPORTED.contains(&path)
}

pub(crate) fn message(what: &str) -> String {
    format!("{what} is not supported by this release; leave it out.")
}
