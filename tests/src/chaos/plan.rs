//! The plan of a soak: derives from a seed what each job asks for, and how each of its attempts behaves.
//!
//! Each process derives the plan for itself: the host to make jobs, the worker to behave, and the checker to know what
//! was asked for. The plan is not sent between them.

use std::time::Duration;

/// How many hosts the jobs name.
pub const HOSTS: u32 = 100;

/// How many slots a life begins with. There are more workers than slots, so a limit that is not enforced shows.
pub const SLOTS: u32 = 8;

/// How many jobs with `db` may run at once when a life begins.
pub const DB: u32 = 4;
/// How many jobs with `disk` may run at once. It is never changed.
pub const DISK: u32 = 2;

/// How many identities the resource `device` has.
pub const DEVICES: u32 = 3;

/// The rate of `api` when a life begins.
pub const API: Quota = Quota {
    per_second: 200,
    burst: 5,
};

/// How many rate keys there are.
pub const KEYS: u32 = 10;

/// How long an attempt may take before its worker is killed. Attempts that succeed take a few milliseconds, so a slow
/// machine does not make them time out.
pub const HARD_TIMEOUT: Duration = Duration::from_millis(500);

/// How long an attempt may take on a worker that loads for a long time. The clock runs while the attempt lies in the
/// pipe of a worker that still loads.
const LOADING_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a job may be tried in one life.
pub const ATTEMPTS: u32 = 6;

/// How many workers a job may kill in one life.
pub const CRASHES: u32 = 3;

/// How many contents the script has, numbered from 0. With only two, a content soon comes back, and only then is a
/// result found that was stored under a wrong key.
pub const CONTENTS: u32 = 2;

/// Workers that load for a long time finish at multiples of this many milliseconds.
const LOADED_EVERY: u64 = 300;

/// A soak, which follows from two numbers.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The seed of everything that is random.
    pub seed: u64,
    /// How many jobs there are.
    pub jobs: u32,
}

/// A rate: how many starts are allowed per second, and how many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many starts are allowed per second.
    pub per_second: u32,
    /// How many starts are allowed at once after a pause.
    pub burst: u32,
}

/// What a job asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobSpec {
    /// The host that the job names.
    pub host: u32,
    /// The claim of the job's hint.
    pub claim: Claim,
    /// The named limits of the job.
    pub limits: &'static [Named],
    /// How many slots the job takes.
    pub slots: u32,
    /// How many identities of the resource `device` the job takes.
    pub devices: u32,
    /// The priority of the job, from 0 (critical) to 3 (low).
    pub priority: u32,
    /// The performer of the job.
    pub performer: Performer,
    /// The input on which the result depends in addition to the script, if the result is cached. Several jobs share an
    /// input.
    pub input: u32,
    /// How long an attempt works if it succeeds.
    pub work: Duration,
}

/// The pool or the kind of command that performs a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Performer {
    /// A pool of eight workers, which are ready at once.
    Swift,
    /// A pool of one to four workers, which load for a moment before they say hello.
    Steady,
    /// A pool of workers that load for a long time. Some say hello after that, and others never do.
    Loading,
    /// A pool of workers whose program is the script. The results are cached.
    Scripted,
    /// A command: a process for each attempt.
    Command,
    /// A command that reads the script. The results are cached.
    ScriptedCommand,
}

/// The claim of a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// No claim.
    Nothing,
    /// The lock of the job's host.
    Host,
    /// A token of the rate of this key.
    Key(u32),
    /// The global lock, and the lock of the job's host.
    Global,
    /// Everything, so that no other job runs at the same time.
    Alone,
}

/// A named limit. Its number identifies it in notes, in which slots have the number 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// A number of jobs at once, which the host changes.
    Db = 1,
    /// A number of jobs at once, which never changes.
    Disk = 2,
    /// A rate, which the host changes.
    Api = 3,
}

impl Named {
    /// Returns the name of the limit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Db => "db",
            Self::Disk => "disk",
            Self::Api => "api",
        }
    }
}

impl Performer {
    const ALL: [Self; 6] = [
        Self::Swift,
        Self::Steady,
        Self::Loading,
        Self::Scripted,
        Self::Command,
        Self::ScriptedCommand,
    ];

    /// Returns the name of the performer's pool and of its task.
    pub fn name(self) -> &'static str {
        match self {
            Self::Swift => "swift",
            Self::Steady => "steady",
            Self::Loading => "loading",
            Self::Scripted => "scripted",
            Self::Command => "command",
            Self::ScriptedCommand => "scripted-command",
        }
    }

    /// Finds the performer with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|performer| performer.name() == name)
    }

    /// Whether each attempt is a process of its own, without a worker.
    pub fn is_command(self) -> bool {
        matches!(self, Self::Command | Self::ScriptedCommand)
    }

    /// Whether the results of the performer are cached.
    pub fn is_cached(self) -> bool {
        matches!(self, Self::Scripted | Self::ScriptedCommand)
    }

    /// Returns how long an attempt may take before it is killed.
    pub fn hard_timeout(self) -> Duration {
        match self {
            Self::Loading => LOADING_TIMEOUT,
            _ => HARD_TIMEOUT,
        }
    }
}

/// How an attempt behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// It succeeds.
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
    /// Its worker floods its stdout forever.
    FloodsOn,
    /// Its worker answers among garbage, and twice.
    Babbles,
    /// Its worker answers with an invalid answer.
    Mangles,
    /// Its worker allocates much memory and keeps it.
    Leaks,
    /// Its worker leaves a child behind.
    LeavesChild,
    /// Its worker exits right after it has answered.
    DiesIdle,
}

/// How many of ten thousand attempts behave in each way. The others succeed.
const SHARES: [(u64, Behaviour); 13] = [
    (100, Behaviour::Fails),
    (60, Behaviour::Exits),
    (40, Behaviour::Killed),
    (20, Behaviour::Halves),
    (15, Behaviour::Hangs),
    (5, Behaviour::Stops),
    (20, Behaviour::Floods),
    (2, Behaviour::FloodsOn),
    (60, Behaviour::Babbles),
    (20, Behaviour::Mangles),
    (30, Behaviour::Leaks),
    (30, Behaviour::LeavesChild),
    (30, Behaviour::DiesIdle),
];

/// Every one in this many jobs kills each worker that it runs on.
const KILLERS: u64 = 2000;

/// How many jobs in a row share the same set of inputs. That is more than the host takes in at once, because a job that
/// arrives while another one computes the same result waits for that result and does not ask the cache.
const BAND: u32 = 20_000;

/// How many inputs the jobs of a band have.
const INPUTS: u32 = 80;

impl Plan {
    /// Returns what a job asks for.
    pub fn spec(&self, job: u32) -> JobSpec {
        let performer = self.performer(job);
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
        let (claim, limits): (Claim, &[Named]) = match (performer, claim) {
            // Keys with a burst of 1 show two starts that come too close after each other.
            (Performer::Loading, _) => (Claim::Key(4 + 4 * self.number(job, 10, 2)), &[]),
            // Jobs without claims may be sent ahead, and many jobs have to be looked up in the cache at once.
            (Performer::Scripted | Performer::ScriptedCommand, _) => (Claim::Nothing, &[]),
            // A command takes its token when it is granted, and it is not known how long its process takes to begin. So
            // no command has a rate.
            (Performer::Command, Claim::Key(_)) => (Claim::Host, &[Named::Db]),
            (Performer::Command, _) if limits.contains(&Named::Api) => (claim, &[Named::Db]),
            _ => (claim, limits),
        };
        let heavy = claim == Claim::Host && self.roll(job, 3, 10) == 0;
        let may_take = limits.is_empty()
            && claim == Claim::Nothing
            && matches!(
                performer,
                Performer::Swift | Performer::Steady | Performer::Command
            );
        // Two of three jobs do no work at all.
        let micros = self.roll(job, 4, 1500).saturating_sub(1000) * 6;
        JobSpec {
            host: self.number(job, 5, HOSTS),
            claim,
            limits,
            slots: if heavy { 2 } else { 1 },
            devices: match self.roll(job, 12, 100) {
                // Some take so many that jobs which take one could keep them waiting forever.
                0..2 if may_take => 2,
                2..9 if may_take => 1,
                _ => 0,
            },
            // If a job waits for a long time between its lookup in the cache and its start, an edit comes in between,
            // and its result is not stored.
            priority: if performer.is_cached() || performer == Performer::Loading {
                0
            } else {
                self.number(job, 6, 4)
            },
            performer,
            input: job / BAND * INPUTS
                + match performer {
                    // These have fewer inputs, since each one is computed only once for each content.
                    Performer::ScriptedCommand => self.number(job, 11, INPUTS / 8),
                    _ => self.number(job, 11, INPUTS),
                },
            work: Duration::from_micros(micros),
        }
    }

    /// Returns the performer of a job.
    fn performer(&self, job: u32) -> Performer {
        // Jobs of loading workers come in groups: a job can be sent too early only if several are in flight while
        // workers load.
        if job % 250 < 5 {
            return Performer::Loading;
        }
        match self.roll(job, 9, 1000) {
            0..60 => Performer::Scripted,
            60..80 => Performer::Command,
            80..100 => Performer::ScriptedCommand,
            _ if self.roll(job, 7, 4) == 0 => Performer::Steady,
            _ => Performer::Swift,
        }
    }

    /// Returns how an attempt at a job behaves. The first attempt is 1.
    pub fn behaviour(&self, job: u32, attempt: u32) -> Behaviour {
        if self.roll(job, 8, KILLERS) == 0 {
            return Behaviour::Exits;
        }
        let mut roll = self.roll(job, 1000 + u64::from(attempt), 10_000);
        for (share, behaviour) in SHARES {
            if roll < share {
                return match behaviour {
                    // Such an attempt would take as long as the timeout, which is long for these workers.
                    Behaviour::Hangs | Behaviour::Stops | Behaviour::FloodsOn
                        if self.performer(job) == Performer::Loading =>
                    {
                        Behaviour::Well
                    }
                    _ => behaviour,
                };
            }
            roll -= share;
        }
        Behaviour::Well
    }

    /// Returns how long a worker that starts now loads before it reads its first request. The process id is the source
    /// of randomness.
    pub fn loading(&self, performer: Performer, process: u32, now_millis: u64) -> Duration {
        let millis = match performer {
            Performer::Steady => self.roll(process, 20, 100),
            Performer::Loading => {
                // Seven of eight workers finish loading at the same moment, as if they had waited for the same disk.
                // Requests that lie in the pipes of all of them would begin at once.
                let until_next = LOADED_EVERY - now_millis % LOADED_EVERY;
                let beats = if self.roll(process, 20, 8) == 0 { 4 } else { 1 };
                until_next + beats * LOADED_EVERY
            }
            Performer::Scripted => self.roll(process, 20, 30),
            // It is so long that an edit may come between the lookup in the cache and the start.
            Performer::ScriptedCommand => self.roll(process, 20, 400),
            Performer::Swift | Performer::Command => 0,
        };
        Duration::from_millis(millis)
    }

    /// Whether a worker says hello once it has loaded.
    pub fn says_hello(&self, performer: Performer, process: u32) -> bool {
        performer != Performer::Loading || self.roll(process, 22, 2) == 0
    }

    /// Returns a random number below `below`, which is the same for the same arguments.
    pub fn roll(&self, job: u32, salt: u64, below: u64) -> u64 {
        let mixed = mix(mix(self.seed ^ mix(salt)) ^ u64::from(job));
        mixed % below
    }

    /// Returns a random number like [`roll`](Self::roll), as a `u32`.
    fn number(&self, job: u32, salt: u64, below: u32) -> u32 {
        u32::try_from(self.roll(job, salt, below.into())).unwrap_or_default()
    }
}

/// A sequence of random numbers, which is the same for each seed and life.
#[derive(Debug)]
pub struct Chance {
    plan: Plan,
    salt: u64,
    drawn: u32,
}

impl Chance {
    /// Makes the sequence of a life.
    pub fn of(plan: Plan, life: u32) -> Self {
        Self {
            plan,
            salt: 3 << 32 | u64::from(life),
            drawn: 0,
        }
    }

    /// Returns the next number, which is below `below`.
    pub fn below(&mut self, below: u32) -> u32 {
        self.drawn += 1;
        self.plan.number(self.drawn, self.salt, below)
    }

    /// Returns the next time, which lies between two numbers of milliseconds.
    pub fn between(&mut self, [least, most]: [u32; 2]) -> Duration {
        let millis = least + self.below(most - least + 1);
        Duration::from_millis(millis.into())
    }
}

/// Returns the rate of a key.
pub fn quota(key: u32) -> Quota {
    Quota {
        per_second: 40 + 10 * key,
        burst: 1 + key % 4,
    }
}

/// Whether jobs are sent ahead to workers in this life. This is so only in every other life, because a job in a
/// worker's pipe begins even if the number of slots falls, and then the checker cannot check slots exactly.
pub fn sends_ahead(life: u32) -> bool {
    life % 2 == 1
}

/// Returns how many unfinished jobs the host may have taken in a life, or `None` for ratchet's default. In most lives
/// they are few, so that jobs are looked up in the cache over the whole life, and not all of them at its beginning.
pub fn window(life: u32) -> Option<usize> {
    (life % 3 != 1).then_some(300)
}

/// Applies the finaliser of splitmix64, in which every bit of the argument affects every bit of the result.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
