//! The keys of a breaker.

use crate::document::{Count, Either, PositiveDuration, Share, section};

section! {
    /// The settings of a breaker: when it stops attempts, for how long, and how it lets them through again.
    pub(crate) struct BreakerSpec("a breaker") {
        /// It opens when so many of the attempts in the window failed, as in 50%.
        failure_rate: Share,
        /// How many attempts the window must hold before a rate counts; 20 by default.
        minimum: Count<1>,
        /// Which attempts a rate counts: the last so many, or those of so long; 100 by default.
        window: Either<Count<1>, PositiveDuration>,
        /// It opens when so many attempts in a row failed.
        consecutive: Count<1>,
        /// It opens when half of the attempts in the window take so long or longer, or another share of them.
        slow: Either<PositiveDuration, SlowSpec>,
        /// How long it stays open; 5s by default, and twice as long each time that it does not help.
        open: PositiveDuration,
        /// How many attempts it lets through then, all of which have to succeed; 3 by default.
        probes: Count<1>,
        /// How long it takes to let all attempts through again after that; no time by default.
        ramp: PositiveDuration,
        /// With `true`, a job that it refuses fails with the class `breaker` instead of waiting.
        reject: bool,
    }
}

section! {
    /// When attempts are slow.
    pub(crate) struct SlowSpec("slow") {
        /// An attempt is slow that takes so long or longer.
        after (required): PositiveDuration,
        /// So many of them are too many, as in 80%; 50% by default.
        rate: Share,
    }
}
