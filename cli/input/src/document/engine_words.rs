//! The words of types of the engine. `Words` is implemented here, because the engine does not depend on this crate.

use std::borrow::Cow;

use ratchet_ipc::{HandshakeMode, LineFormat, StrayMode};
use ratchet_resilience::retry::Jitter;
use ratchet_runtime::{Balance, Durability, Priority};

use super::words::Words;

crate::words! {
    Balance {
        LeastLoaded = "least_loaded",
        RoundRobin = "round_robin",
        PowerOfTwo = "power_of_two",
        Affinity = "affinity",
    };
    Durability { None = "none", Batch = "batch", Each = "each" };
    HandshakeMode { Auto = "auto", Required = "required", None = "none" };
    Jitter { Full = "full", Equal = "equal", None = "none" };
    LineFormat { Text = "text", Json = "json" };
    Priority;
    StrayMode { Log = "log", Fail = "fail", Kill = "kill" };
}

impl Words for Priority {
    fn words() -> Vec<(Cow<'static, str>, Self)> {
        let word = |priority: Self| (priority.as_str().into(), priority);
        Self::ALL.map(word).into()
    }
}
