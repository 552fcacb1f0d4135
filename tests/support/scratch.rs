//! A directory for the files of one test, removed at its end.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::fs;
use std::path::PathBuf;

/// The directory.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// An empty one; `name` is that of no other in this test program.
    pub fn new(name: &str) -> Scratch {
        let program = env!("CARGO_CRATE_NAME");
        let dir = std::env::temp_dir().join(format!("qwen-edge-{program}-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }

    /// The path of a file with these bytes.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The names of what is in it, sorted.
    pub fn files(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
