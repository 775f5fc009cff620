//! The sampler of a build without the feature `monitor`, which takes no readings.

use super::{MonitorError, Probe, Reading};

/// Takes no readings, because this crate was built without the feature `monitor`. No value of this type can be made.
#[derive(Debug)]
pub struct Sampler(std::convert::Infallible);

impl Sampler {
    /// Always returns an error that names the feature.
    pub fn new() -> Result<Self, MonitorError> {
        let missing = "ratchet-runtime was built without its feature `monitor`";
        Err(MonitorError::Unsupported(missing.into()))
    }
}

impl Probe for Sampler {
    fn read(&mut self) -> Reading {
        match self.0 {}
    }
}
