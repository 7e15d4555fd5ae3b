//! What was found out last about each resource by somebody who asks around.

use std::collections::HashMap;

use berth_crds::settings::ObjectName;
use parking_lot::Mutex;

/// The last reading of each resource.
#[derive(Debug)]
pub(crate) struct Board<T> {
    readings: Mutex<HashMap<ObjectName, T>>,
}

impl<T> Default for Board<T> {
    fn default() -> Self {
        Self {
            readings: Mutex::default(),
        }
    }
}

impl<T: Clone + Default + PartialEq> Board<T> {
    /// The last reading of `name`.
    pub(crate) fn get(&self, name: &ObjectName) -> T {
        self.readings.lock().get(name).cloned().unwrap_or_default()
    }

    /// Notes a reading; says whether it differs from the one before.
    pub(crate) fn put(&self, name: &ObjectName, reading: &T) -> bool {
        let before = self.readings.lock().insert(name.clone(), reading.clone());
        before.unwrap_or_default() != *reading
    }

    /// Forgets the resources that are gone.
    pub(crate) fn retain(&self, exists: impl Fn(&ObjectName) -> bool) {
        self.readings.lock().retain(|name, _| exists(name));
    }

    /// All readings.
    pub(crate) fn all(&self) -> Vec<T> {
        self.readings.lock().values().cloned().collect()
    }
}
