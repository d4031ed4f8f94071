//! The data directory: one process at a time, and what must outlive it apart from the table.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// A data directory that is ours for as long as this value lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    lock: File,
}

/// Who holds a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Where it answers.
    pub url: String,
}

/// Somebody else holds the data directory.
#[derive(Debug, thiserror::Error)]
#[error("the data directory {} is in use by another nightshift{}", .path.display(), .holder.as_ref().map(|holder| format!(" (process {}, {})", holder.pid, holder.url)).unwrap_or_default())]
pub struct InUse {
    /// The directory.
    pub path: PathBuf,
    /// Who holds it, if it has said so yet.
    pub holder: Option<Holder>,
}

impl DataDir {
    /// Takes the directory, making it if need be. [`InUse`] when somebody else has it.
    pub(crate) fn take(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        make(path).with_context(|| format!("cannot make the data directory {shown}"))?;
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path.join("lock"))
            .with_context(|| format!("cannot open {shown}/lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock }),
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = lock.read_to_string(&mut text);
                Err(InUse { path: path.to_owned(), holder: serde_json::from_str(&text).ok() }.into())
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {shown}/lock")),
        }
    }

    /// Says where this process answers, for those who find the directory taken.
    pub(crate) fn announce(&mut self, url: &str) -> anyhow::Result<()> {
        let holder = Holder { pid: std::process::id(), url: url.to_owned() };
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        serde_json::to_writer(&self.lock, &holder)?;
        self.lock.flush()?;
        Ok(())
    }

    /// The file of the embedded DynamoDB.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("nightshift.db")
    }

    /// The key that signs stream tokens: the same after a restart, so that viewers simply come back.
    pub(crate) fn token_key(&self) -> anyhow::Result<Vec<u8>> {
        self.key("stream-token.key")
    }

    /// The key that seals what callers bring: the same after a restart, so that their jobs go on.
    pub(crate) fn sealing_key(&self) -> anyhow::Result<Vec<u8>> {
        self.key("sealing.key")
    }

    /// A key in a file that nobody else can read, made when it is first asked for.
    fn key(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(key) if key.len() == KEY_BYTES => return Ok(key),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
        let key = random_key()?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&path).and_then(|mut file| file.write_all(&key));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(key)
    }
}

/// Makes the directory so that nobody else can read what is in it; one that exists stays as it is.
fn make(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

/// Who holds a data directory, if anybody does and has said so.
pub(crate) fn holder(path: &Path) -> Option<Holder> {
    let mut lock = OpenOptions::new().read(true).write(true).open(path.join("lock")).ok()?;
    match lock.try_lock() {
        Ok(()) => None,
        Err(_) => {
            let mut text = String::new();
            lock.read_to_string(&mut text).ok()?;
            serde_json::from_str(&text).ok()
        }
    }
}

/// A key that lives as long as the process.
pub(crate) fn random_key() -> anyhow::Result<Vec<u8>> {
    let mut key = vec![0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_told_who_holds_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = DataDir::take(dir.path()).unwrap();
        first.announce("http://127.0.0.1:1").unwrap();
        let refused = DataDir::take(dir.path()).unwrap_err();
        let holder = refused.downcast_ref::<InUse>().unwrap().holder.clone().unwrap();
        assert_eq!((holder.pid, holder.url.as_str()), (std::process::id(), "http://127.0.0.1:1"));
        drop(first);
        assert!(DataDir::take(dir.path()).is_ok());
    }

    #[test]
    fn the_token_key_survives_a_restart_and_is_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let key = DataDir::take(dir.path()).unwrap().token_key().unwrap();
        assert_eq!(DataDir::take(dir.path()).unwrap().token_key().unwrap(), key);
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(
                &fs::metadata(dir.path().join("stream-token.key")).unwrap().permissions(),
            );
            assert_eq!(mode & 0o077, 0);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_is_made_is_nobody_elses_and_one_that_exists_stays_as_it_is() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (parent, made, shared) = (dir.path().join("a"), dir.path().join("a/data"), dir.path().join("shared"));
        drop(DataDir::take(&made).unwrap());
        assert_eq!(mode(&made), 0o700);
        assert_ne!(mode(&parent), 0o700, "only the directory itself");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o750)).unwrap();
        drop(DataDir::take(&shared).unwrap());
        assert_eq!(mode(&shared), 0o750);
    }
}
