//! What a soak asks for: every job's terms and every attempt's fate, from a seed.
//!
//! Whoever needs to know recomputes it: the host to make jobs of it, the worker to meet its fate, the checker to
//! know what was asked. Nothing of it travels.

use std::time::Duration;

/// How many hosts there are.
pub const HOSTS: u32 = 100;

/// How many slots a life begins with; so many workers could be busy at most that a life of few slots shows.
pub const SLOTS: u32 = 8;

/// How many jobs `db` and `disk` begin with at once.
pub const DB: u32 = 4;
/// It stays as it is.
pub const DISK: u32 = 2;

/// What `api` begins with.
pub const API: Quota = Quota {
    per_second: 200,
    burst: 5,
};

/// How many rate keys there are.
pub const KEYS: u32 = 10;

/// How long an attempt may take before its worker is killed. So much longer than any that does well that a slow
/// machine does not make timeouts of them.
pub const HARD_TIMEOUT: Duration = Duration::from_millis(500);

/// How often a job may be tried in one life.
pub const ATTEMPTS: u32 = 6;

/// How many workers a job may take with it in one life.
pub const CRASHES: u32 = 3;

/// All of a soak, in two numbers.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Which one.
    pub seed: u64,
    /// How many jobs.
    pub jobs: u32,
}

/// So many starts a second, and so many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Starts a second.
    pub per_second: u32,
    /// Starts at once.
    pub burst: u32,
}

/// What a job asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Where.
    pub host: u32,
    /// What its hint claims.
    pub claim: Claim,
    /// The named limits.
    pub limits: &'static [Named],
    /// How many slots it fills.
    pub slots: u32,
    /// How urgent it is, from 0 to 3.
    pub urgency: u32,
    /// Which of the two pools does it.
    pub steady: bool,
    /// How long it works if all goes well.
    pub work: Duration,
}

/// What a hint claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nothing.
    Nothing,
    /// Its host.
    Host,
    /// A token of this key.
    Key(u32),
    /// The global lock, and its host.
    Global,
    /// Everything.
    Alone,
}

/// A limit with a name. The number is what it is called in logs; slots are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// So many at once, changed at run time.
    Db = 1,
    /// So many at once.
    Disk = 2,
    /// So many a second, changed at run time.
    Api = 3,
}

impl Named {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Db => "db",
            Self::Disk => "disk",
            Self::Api => "api",
        }
    }
}

/// What becomes of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It does well.
    Well,
    /// Its worker answers with an error.
    Fails,
    /// Its worker exits.
    Exits,
    /// Its worker is killed.
    Killed,
    /// Its worker exits in the middle of its answer.
    Halves,
    /// Its worker never answers.
    Hangs,
    /// Its worker is stopped by a signal.
    Stops,
    /// Its worker floods its stdout, and answers.
    Floods,
    /// Its worker floods its stdout for ever.
    FloodsOn,
    /// Its worker answers among garbage, and twice.
    Babbles,
    /// Its worker answers with what is no answer.
    Mangles,
    /// Its worker keeps much memory.
    Leaks,
    /// Its worker leaves a child behind.
    LeavesChild,
    /// Its worker exits right after it has answered.
    DiesIdle,
}

/// Of ten thousand attempts, so many meet each fate.
const FATES: [(u64, Fate); 13] = [
    (100, Fate::Fails),
    (60, Fate::Exits),
    (40, Fate::Killed),
    (20, Fate::Halves),
    (15, Fate::Hangs),
    (5, Fate::Stops),
    (20, Fate::Floods),
    (2, Fate::FloodsOn),
    (60, Fate::Babbles),
    (20, Fate::Mangles),
    (30, Fate::Leaks),
    (30, Fate::LeavesChild),
    (30, Fate::DiesIdle),
];

/// One job of so many kills every worker that it meets.
const CURSED: u64 = 2000;

impl Plan {
    /// What a job asks for.
    pub fn wish(&self, job: u32) -> Wish {
        let (claim, limits): (Claim, &[Named]) = match self.roll(job, 1, 10_000) {
            0..20 => (Claim::Alone, &[]),
            20..400 => (Claim::Global, &[]),
            400..2_200 => (Claim::Host, &[]),
            2_200..2_700 => (Claim::Host, &[Named::Db, Named::Disk]),
            2_700..3_200 => (Claim::Key(self.number(job, 2, KEYS)), &[]),
            3_200..4_000 => (Claim::Nothing, &[Named::Db]),
            4_000..4_200 => (Claim::Nothing, &[Named::Api]),
            _ => (Claim::Nothing, &[]),
        };
        let heavy = claim == Claim::Host && self.roll(job, 3, 10) == 0;
        // Two of three do nothing at all.
        let micros = self.roll(job, 4, 1500).saturating_sub(1000) * 2;
        Wish {
            host: self.number(job, 5, HOSTS),
            claim,
            limits,
            slots: if heavy { 2 } else { 1 },
            urgency: self.number(job, 6, 4),
            steady: self.roll(job, 7, 4) == 0,
            work: Duration::from_micros(micros),
        }
    }

    /// What becomes of an attempt; the first is 1.
    pub fn fate(&self, job: u32, attempt: u32) -> Fate {
        if self.roll(job, 8, CURSED) == 0 {
            return Fate::Exits;
        }
        let mut roll = self.roll(job, 1000 + u64::from(attempt), 10_000);
        for (share, fate) in FATES {
            if roll < share {
                return fate;
            }
            roll -= share;
        }
        Fate::Well
    }

    /// A number below `below` that is the same each time.
    pub fn roll(&self, job: u32, salt: u64, below: u64) -> u64 {
        let mixed = mix(mix(self.seed ^ mix(salt)) ^ u64::from(job));
        mixed % below
    }

    fn number(&self, job: u32, salt: u64, below: u32) -> u32 {
        u32::try_from(self.roll(job, salt, below.into())).unwrap_or_default()
    }
}

/// How often jobs of a key may start.
pub fn quota(key: u32) -> Quota {
    Quota {
        per_second: 40 + 10 * key,
        burst: 1 + key % 4,
    }
}

/// Whether workers get jobs ahead of time in this life. It is so in every other one, because what lies in a worker's
/// pipe when the number of slots falls begins all the same.
pub fn sends_ahead(life: u32) -> bool {
    life % 2 == 1
}

/// The finaliser of splitmix64: every bit of the argument counts in every bit of the result.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
