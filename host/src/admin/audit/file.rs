//! The file of an audit log, rotated by size as by an API server: `audit.log` becomes
//! `audit-2026-11-30T12-00-00.000.log`, and old files are removed by number and age.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::settings::audit::Rotation;

/// See the module's documentation.
pub(super) struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    /// `None` after it could not be opened; the next write tries again.
    file: Option<File>,
    bytes: u64,
}

impl LogFile {
    /// Opens the file, which only its owner may read, and continues it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let mut log = Self {
            path: path.to_owned(),
            rotation,
            file: None,
            bytes: 0,
        };
        log.opened()?;
        Ok(log)
    }

    fn opened(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            let mut options = File::options();
            let file = options.create(true).append(true).mode(0o600);
            let file = file.open(&self.path)?;
            self.bytes = file.metadata()?.len();
            self.file = Some(file);
        }
        self.file
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Renames the file, and removes old ones.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        let (stem, extension) = self.names();
        let now = Timestamp::now().strftime("%Y-%m-%dT%H-%M-%S");
        let milliseconds = Timestamp::now().subsec_millisecond();
        let to = format!("{stem}-{now}.{milliseconds:03}{extension}");
        fs::rename(&self.path, self.path.with_file_name(to))?;
        self.remove_old();
        Ok(())
    }

    /// The name of the file without its extension, and the extension with its dot.
    fn names(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| {
            part.map_or_else(String::new, |it| it.to_string_lossy().into_owned())
        };
        let extension = text(self.path.extension());
        let dot = if extension.is_empty() { "" } else { "." };
        (text(self.path.file_stem()), format!("{dot}{extension}"))
    }

    /// Rotated files that cannot be removed stay; the log itself goes on.
    fn remove_old(&self) {
        let mut old = self.rotated();
        old.sort();
        let Rotation {
            backups_max,
            days_max,
            ..
        } = self.rotation;
        let surplus = match backups_max {
            0 => 0,
            max => old.len().saturating_sub(max),
        };
        let days = u64::from(days_max) * 24 * 60 * 60;
        let oldest = SystemTime::now().checked_sub(Duration::from_secs(days));
        for (place, file) in old.iter().enumerate() {
            let changed = fs::metadata(file).and_then(|it| it.modified()).ok();
            let is_aged = days_max > 0 && changed < oldest && changed.is_some();
            if place < surplus || is_aged {
                let _ = fs::remove_file(file);
            }
        }
    }

    /// The rotated files of this log.
    fn rotated(&self) -> Vec<PathBuf> {
        let (stem, extension) = self.names();
        let folder = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let Ok(entries) = fs::read_dir(folder) else {
            return Vec::new();
        };
        let is_rotated = |path: &PathBuf| {
            let name = path.file_name().map(|it| it.to_string_lossy());
            let name = name.as_deref().unwrap_or_default();
            let time = name.strip_prefix(&format!("{stem}-"));
            let time = time.and_then(|rest| rest.strip_suffix(&extension));
            time.is_some_and(|time| time.len() == 23 && time.starts_with("20"))
        };
        let paths = entries.flatten().map(|entry| entry.path());
        paths.filter(is_rotated).collect()
    }
}

impl Write for LogFile {
    /// Whole lines, which stay in one file.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let max = self.rotation.bytes_max;
        self.opened()?;
        if max > 0 && self.bytes > 0 && self.bytes + lines.len() as u64 > max {
            self.rotate()?;
        }
        let written = self.opened()?.write(lines)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_full_file_is_rotated_and_old_ones_are_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.log");
        let rotation = Rotation {
            bytes_max: 10,
            backups_max: 2,
            days_max: 1,
        };
        fs::write(folder.path().join("audit-notes.log"), "kept").expect("a file");
        let mut log = LogFile::open(&path, rotation).expect("a log");
        for line in 0..5 {
            log.write_all(format!("line {line}\n").as_bytes())
                .expect("written");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(fs::read_to_string(&path).expect("a file"), "line 4\n");
        let mut rotated = log.rotated();
        rotated.sort();
        let texts = rotated
            .iter()
            .map(|it| fs::read_to_string(it).expect("a file"));
        assert_eq!(texts.collect::<Vec<_>>(), ["line 2\n", "line 3\n"]);
        assert!(folder.path().join("audit-notes.log").exists());
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_file_is_continued_and_made_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit");
        for _ in 0..2 {
            let mut log = LogFile::open(&path, Rotation::default()).expect("a log");
            log.write_all(b"a\n").expect("written");
        }
        assert_eq!(fs::read_to_string(&path).expect("a file"), "a\na\n");
        assert!(LogFile::open(&path.join("no folder"), Rotation::default()).is_err());
    }
}
