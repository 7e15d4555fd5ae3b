//! A Secret as kubelet mounts it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A Secret in a folder of its own, whose versions follow one another in the steps of kubelet's atomic writer.
#[derive(Debug)]
pub struct MountedSecret {
    folder: PathBuf,
    version: u32,
    keys: Vec<String>,
}

impl MountedSecret {
    /// The Secret `name` in a directory of Secrets, without any version yet.
    pub fn new(directory: &Path, name: &str) -> Self {
        Self {
            folder: directory.join(name),
            version: 0,
            keys: Vec::new(),
        }
    }

    /// Puts these keys and values in force: a folder with the new version, the link to it in one step, then links of new keys
    /// come, links of old ones go, and so does the folder of the old version.
    pub fn set(&mut self, values: &[(&str, &str)]) {
        let before = self.place();
        self.version += 1;
        let now = self.place();
        fs::create_dir_all(self.folder.join(&now)).expect("a folder for the new version");
        for (key, value) in values {
            fs::write(self.folder.join(&now).join(key), value).expect("a file of the new version");
        }
        let (next, data) = (self.folder.join("..data_tmp"), self.folder.join("..data"));
        symlink(&now, &next).expect("a link to the new version");
        fs::rename(next, data).expect("the link in its place");
        for (key, _) in values {
            if !self.keys.iter().any(|known| known == key) {
                symlink(Path::new("..data").join(key), self.folder.join(key)).expect("a link of a new key");
            }
        }
        for key in &self.keys {
            if !values.iter().any(|(known, _)| known == key) {
                fs::remove_file(self.folder.join(key)).expect("a link of an old key");
            }
        }
        self.keys = values.iter().map(|(key, _)| (*key).to_owned()).collect();
        if self.version > 1 {
            fs::remove_dir_all(self.folder.join(before)).expect("the folder of the old version");
        }
    }

    fn place(&self) -> String {
        format!("..{}", self.version)
    }
}
