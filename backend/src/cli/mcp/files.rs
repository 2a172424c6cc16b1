//! The folder that tools may write into: new files, inside it, and nothing else.

use std::io;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use snaphook_shared::code::{Code, Problem};

use crate::cli::{CliError, shot};

/// A folder, by its real path.
pub(super) struct Folder(PathBuf);

/// A file that is not there yet.
pub(super) struct Place(PathBuf);

impl Folder {
    /// # Errors
    /// When it is no folder, and cannot be made.
    pub(super) fn open(path: &Path) -> Result<Folder, CliError> {
        let real = std::fs::create_dir_all(path).and_then(|()| path.canonicalize());
        real.map(Folder).map_err(|error| CliError::Refused(format!("--output-dir {}: {error}", path.display())))
    }

    fn place(&self, name: &str) -> Result<Place, String> {
        let relative = Path::new(name);
        if name.is_empty() || !relative.components().all(|component| matches!(component, Component::Normal(_))) {
            return Err("must be a path inside the output folder, as page.png".to_owned());
        }
        let path = self.0.join(relative);
        let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
        // A link could lead out.
        let parent = parent.filter(|parent| parent.starts_with(&self.0)).ok_or("names a folder that is not there")?;
        let path = parent.join(relative.file_name().unwrap_or_default());
        match path.symlink_metadata() {
            Ok(_) => Err("is there already: choose another name".to_owned()),
            Err(_) => Ok(Place(path)),
        }
    }
}

/// Where a file of this name goes.
///
/// # Errors
/// When there is no folder, or the name leads out of it or to what is there already.
pub(super) fn place(folder: Option<&Folder>, name: &str) -> Result<Place, Problem> {
    let placed = match folder {
        Some(folder) => folder.place(name),
        None => Err("is not allowed: the server was started without --output-dir".to_owned()),
    };
    placed.map_err(|why| Problem::with_detail(Code::RequestNotValid, "file", format!("\"file\" {why}")))
}

impl Place {
    /// The whole file or none, and never over another one.
    pub(super) fn write(self, bytes: &Bytes) -> io::Result<PathBuf> {
        shot::write_new(&self.0, bytes)?;
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_outside_or_over_a_file() {
        let (outside, inside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = Folder::open(inside.path()).unwrap();
        std::fs::write(inside.path().join("old.png"), "old").unwrap();
        std::fs::create_dir(inside.path().join("sub")).unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("out")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("x.png"), inside.path().join("link.png")).unwrap();
        for name in [
            "",
            ".",
            "..",
            "../x.png",
            "/tmp/x.png",
            "sub/../../x.png",
            "out/x.png",
            "none/x.png",
            "old.png",
            "link.png",
        ] {
            assert!(folder.place(name).is_err(), "{name}");
        }
        for name in ["new.png", "sub/new.png", "./new.png"] {
            assert!(folder.place(name).is_ok() || name.starts_with("./"), "{name}");
        }
        let placed = folder.place("sub/new.png").unwrap();
        // Somebody else was faster.
        std::fs::write(inside.path().join("sub/new.png"), "theirs").unwrap();
        assert!(placed.write(&Bytes::from("ours")).is_err());
        assert_eq!(std::fs::read(inside.path().join("sub/new.png")).unwrap(), b"theirs");
        let path = folder.place("new.png").unwrap().write(&Bytes::from("ours")).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"ours");
        assert!(place(None, "a.png").is_err());
    }
}
