//! Completes jobs with what the other sections of their file set: workers, limits and terms.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use ratchet_runtime::process::{PoolConfig, ProcessConfig};
use ratchet_runtime::{
    CacheTerms, Job, Limit, ParallelizationHint, Placement, ResourceNeed, TaskName, Terms, Work,
};

use super::files::prepare_for_remote;
use super::folders::FileFolders;
use super::groups::FailFastGroups;
use super::hosts::{HostRegistry, check_on, check_words};
use super::job::{JobPlaces, idle_timeout};
use super::options::{BreakerAndBudget, PlanOptions, ServedTasks, WorkerPlan};
use super::paths::within;
use super::resources::{self, Resources};
use super::selection::JobPattern;
use super::spec::{HeaderSpec, LimitSpec, OverrideSpec, Protocol, TermsSpec, WorkerSpec};
use super::terms::PartialTerms;
use super::variables::{self, VariablesError};
use super::{breaker, pool, program};
use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::document::{ClapWord, Field, Named, Spanned};
use crate::value::ValueError;

/// How many names and terms are kept for reuse, so that the memory of a stream stays bounded.
const MAX_KEPT: usize = 4096;

/// The tasks that are served. Each job looks its task up twice, and the standard hash would take most of that time.
/// This hash does not protect against names that are made to collide. A stream adds at most [`MAX_KEPT`] names, so such
/// names cannot slow it down by much.
type KnownTasks = HashMap<TaskName, SharedTerms, foldhash::fast::RandomState>;

/// Sets the terms of jobs, and checks that the names in them exist.
#[derive(Clone)]
pub(super) struct JobBuilder {
    /// The pools of workers that the file declares.
    pub(super) workers: Vec<WorkerPlan>,
    /// The limits that the file declares, by name.
    pub(super) limits: Vec<(String, Limit)>,
    /// The resources that flags and the file declare, by name.
    pub(super) resources: Resources,
    /// Those, and the resources that hosts have for themselves.
    known_resources: Resources,
    /// The breakers and the retry budget that the file declares.
    pub(super) protection: BreakerAndBudget,
    /// The hosts on which jobs and workers can run.
    pub(super) hosts: HostRegistry,
    folders: FileFolders,
    slots: Option<u32>,
    tasks: KnownTasks,
    /// Whether work folders on hosts are kept.
    keep_remote: bool,
    /// The terms of tasks without a worker of their own, if one worker serves every task.
    other_tasks: Option<SharedTerms>,
    /// The terms of commands.
    commands: SharedTerms,
    /// The place of the idle timeout of all jobs.
    default_idle: Option<Span>,
    /// The overrides, in the order of the file.
    overrides: Vec<Override>,
    /// The groups that are given up when one of their jobs fails.
    pub(super) groups: FailFastGroups,
    /// The variables of commands that do not set them.
    env: Vec<(String, String)>,
    /// The folder of commands that do not set one.
    cwd: Option<Spanned<String>>,
    settled: HashMap<PartialTerms, Arc<Terms>>,
    /// The rate and the burst of each rate key, and the place at which they were written first.
    rates: HashMap<String, (f64, u32, Span)>,
}

/// The terms that the jobs of a worker, or all commands, have in common.
#[derive(Clone)]
struct SharedTerms {
    terms: PartialTerms,
    /// The place of the `retry` that holds for all of them, if there is one.
    retry: Option<Span>,
    /// The terms of a job that sets none itself. They are computed for the first such job.
    plain: Option<Arc<Terms>>,
    /// Why the jobs cannot bring files back, if they cannot.
    no_pull: Option<NoPull>,
}

/// Why the jobs of a worker cannot bring files back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoPull {
    /// The worker has no work folder on its host.
    NoFolder,
    /// The worker is a filter, whose answers may belong to other items.
    Filter,
}

impl NoPull {
    /// Returns why the jobs of a worker that runs there cannot bring files back, if that is so.
    fn of(spec: &WorkerSpec, on: &Placement) -> Option<Self> {
        let has_folder = *on == Placement::Here || spec.push.is_present();
        match spec.protocol.get() {
            Some(ClapWord(Protocol::Lines)) => Some(Self::Filter),
            _ => (!has_folder).then_some(Self::NoFolder),
        }
    }
}

/// The terms of the jobs that a pattern matches.
#[derive(Clone)]
struct Override {
    pattern: JobPattern,
    place: Span,
    terms: PartialTerms,
    /// The place of the idle timeout.
    idle: Option<Span>,
    is_used: bool,
}

impl JobBuilder {
    /// Reads the sections that are not jobs.
    pub(super) fn new(
        header: HeaderSpec,
        folders: &FileFolders,
        options: &PlanOptions,
        problems: &mut Problems,
    ) -> Self {
        let folder = folders.root();
        let limits = limits(header.limits.into_value().unwrap_or_default(), problems);
        if let Some(variable_of_setting) = options.variable_of_setting {
            let hosts = header.hosts.get().into_iter().flatten();
            let of_hosts = hosts.filter_map(|host| Some(&host.value.as_ref()?.resources));
            for resources in std::iter::once(&header.resources).chain(of_hosts) {
                resources::refuse_names_of_settings(resources, variable_of_setting, problems);
            }
        }
        let resources = resources::declared(header.resources, &options.resources, problems);
        let mut defaults = header.defaults.into_value().unwrap_or_default();
        let (env, cwd) = defaults.take_start();
        let (breaker, retry_budget, defaults) = defaults.into_parts();
        let breaker = options.breaker.or(breaker::from_spec(breaker, problems));
        let protection = BreakerAndBudget {
            breaker: breaker.flatten(),
            retry_budget,
        };
        let (default_retry, default_idle) = (defaults.retry.span(), idle_timeout(&defaults));
        let hosts = HostRegistry::new(header.hosts, &options.hosts, folder, problems);
        let known_resources = hosts.all_resources(&resources);
        check_names((&limits, &known_resources), &defaults, problems);
        check_on(&hosts, &defaults.on, problems);
        let outer = options
            .flags
            .clone()
            .or(&PartialTerms::from_spec(defaults, folder, problems))
            .or(&options.settings);
        let shared = |own: PartialTerms, retry: Option<Span>| SharedTerms {
            terms: own.or(&outer),
            retry: retry.or(default_retry),
            plain: None,
            no_pull: None,
        };
        // A task runs where its worker does.
        let of_tasks = |own: PartialTerms, retry| {
            let mut shared = shared(own, retry);
            let on = shared.terms.on.take();
            let on = on.map_or(Placement::Here, |words| hosts.placement(&words));
            (shared, on)
        };
        let mut builder = Self {
            workers: Vec::new(),
            limits,
            resources,
            known_resources,
            protection,
            hosts: hosts.clone(),
            folders: folders.clone(),
            slots: options.slots,
            tasks: KnownTasks::default(),
            keep_remote: options.keep_remote,
            other_tasks: None,
            commands: shared(PartialTerms::default(), None),
            default_idle,
            overrides: Vec::new(),
            groups: FailFastGroups::new(header.groups, &options.fail_fast),
            env: program::variables(env, problems),
            cwd,
            settled: HashMap::new(),
            rates: HashMap::new(),
        };
        builder.add_overrides(header.overrides, problems);
        let workers_key = header.workers.key();
        let mut named: HashMap<TaskName, Span> = HashMap::new();
        let path = std::env::var_os("PATH");
        for worker in header.workers.into_value().unwrap_or_default() {
            let Named {
                name, place, span, ..
            } = worker;
            let is_refused = is_within(span, problems);
            let folder = folders.at(span);
            let mut spec = worker.value.unwrap_or_default();
            let terms = *spec.terms.take().unwrap_or_default();
            check_names(builder.declared(), &terms, problems);
            let own_breaker = breaker::from_spec(std::mem::take(&mut spec.breaker), problems);
            let retry = terms.retry.span();
            check_on(&hosts, &terms.on, problems);
            let own = PartialTerms::from_spec(terms, folder, problems);
            let (mut own, on) = of_tasks(own, retry);
            own.no_pull = NoPull::of(&spec, &on);
            let serves = builder.serve(&name, place, &spec, &own, &mut named, problems);
            hosts.check_memory(&name, spec.memory.key(), &on, problems);
            let command = spec.command.span();
            let pool = pool::from_spec(&name, place, spec, is_refused, folder, options, problems);
            let Some(mut pool) = pool else { continue };
            if on == Placement::Here {
                let place = command.unwrap_or(span);
                check_program(&name, &pool.process, path.as_ref(), place, problems);
            } else {
                let keep = options.keep_remote.then_some(&*name);
                prepare_for_remote(&mut pool.process, folder, keep, place, problems);
            }
            builder.workers.push(WorkerPlan {
                pool,
                serves,
                breaker: own_breaker.unwrap_or(protection.breaker),
                on,
            });
        }
        if let Some(pool) = &options.worker {
            problems.extend(workers_key.map(second_worker));
            let (terms, on) = of_tasks(PartialTerms::default(), None);
            builder.other_tasks = Some(terms);
            let mut pool = pool.clone();
            options.pools.apply(&mut pool);
            builder.add_typed_worker(pool, on);
        }
        builder
    }

    /// Goes on with a text that is added to the run. It lies in this folder and begins at `start`, behind the file of the run, as
    /// the text that was added before did. `slots` is how many slots the run has by now.
    pub(super) fn begin_addition(&mut self, start: usize, folder: &Path, slots: u32) {
        self.folders.replace_from(start, folder.to_path_buf());
        self.slots = Some(slots);
        for (_, _, first) in self.rates.values_mut() {
            if first.start() >= start {
                // It is a place of the text before, and would be taken for one of this text.
                *first = Span::default();
            }
        }
    }

    /// Reads the overrides.
    fn add_overrides(
        &mut self,
        overrides: Field<Vec<Spanned<OverrideSpec>>>,
        problems: &mut Problems,
    ) {
        for Spanned { value: spec, span } in overrides.into_value().unwrap_or_default() {
            let place = spec.pattern.span().unwrap_or(span);
            let terms = *spec.terms.unwrap_or_default();
            check_names(self.declared(), &terms, problems);
            check_on(&self.hosts, &terms.on, problems);
            let idle = idle_timeout(&terms);
            let terms = PartialTerms::from_spec(terms, self.folders.at(span), problems);
            let Some(pattern) = spec.pattern.into_value() else {
                continue;
            };
            match pattern.parse() {
                Ok(pattern) => self.overrides.push(Override {
                    pattern,
                    place,
                    terms,
                    idle,
                    is_used: false,
                }),
                Err(message) => problems.push(Diagnostic::error(place, message)),
            }
        }
    }

    /// Returns the terms of a job with those of the overrides that match it, or nothing if no override does.
    fn overridden(&mut self, job: &Job, places: &JobPlaces) -> Option<PartialTerms> {
        let mut terms: Option<PartialTerms> = None;
        for one in &mut self.overrides {
            if one.pattern.matches(job, places.group.as_deref()) {
                one.is_used = true;
                terms = Some(match terms {
                    None => one.terms.clone(),
                    Some(terms) => terms.or(&one.terms),
                });
            }
        }
        let own = places.terms.as_ref().map(|own| &*own.terms);
        match (own, terms) {
            (Some(own), Some(terms)) => Some(own.clone().or(&terms)),
            (_, terms) => terms,
        }
    }

    /// Warns of overrides that match no job of the file.
    pub(super) fn warn_of_unused_overrides(&self, problems: &mut Problems) {
        for unused in self.overrides.iter().filter(|one| !one.is_used) {
            let warning = Diagnostic::warning(unused.place, "this matches no job");
            problems.push(warning.help("a pattern is compared with whole ids; `*` is any text"));
        }
    }

    /// Adds the variables and the folder of all commands where a command does not set its own, and fills in the
    /// variables that values name.
    fn start(&self, job: &mut Job, places: &JobPlaces, problems: &mut Problems) {
        let Work::Command(process) = &mut job.work else {
            return;
        };
        let names_any = |value: &std::ffi::OsStr| value.as_encoded_bytes().contains(&b'$');
        let has_names = process.env.declared().any(|(_, value)| names_any(value));
        if self.env.is_empty() && self.cwd.is_none() && places.cwd.is_none() && !has_names {
            return;
        }
        let process = Arc::make_mut(process);
        let mut env = process.env.clone();
        for (name, value) in &self.env {
            if !env.declared().any(|(own, _)| *own == **name) {
                env = env.set(name, value);
            }
        }
        let declared: BTreeMap<String, String> = env
            .declared()
            .filter_map(|(name, value)| {
                Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()))
            })
            .collect();
        for (name, value) in declared.iter().filter(|(_, value)| value.contains('$')) {
            match variables::expand(&declared, value) {
                Ok(expanded) => env = env.set(name, expanded),
                Err(error) => {
                    let message = match error {
                        VariablesError::Circle(at) => {
                            format!(
                                "variable `{name}` cannot be expanded: `${{{at}}}` refers to itself"
                            )
                        }
                        VariablesError::TooLong(at) => {
                            format!(
                                "variable `{name}` becomes too long when `${{{at}}}` is expanded"
                            )
                        }
                    };
                    let error = Diagnostic::error(places.work, message);
                    problems.push(error.help("write `$${` for the characters `${`"));
                }
            }
        }
        process.env = env;
        let of_all = self.cwd.as_ref().filter(|_| !places.has_cwd);
        if let Some(cwd) = places.cwd.as_deref().or(of_all)
            && let Some(path) = expanded_cwd(&declared, cwd, problems)
        {
            process.working_dir = Some(within(self.folders.at(cwd.span), path));
        }
    }

    /// Adds the worker that was typed, which serves every task.
    fn add_typed_worker(&mut self, mut pool: PoolConfig, on: Placement) {
        if on != Placement::Here {
            program::prepare_for_remote(&mut pool.process, self.folders.root());
        }
        self.workers.push(WorkerPlan {
            pool,
            serves: ServedTasks::Everything,
            breaker: self.protection.breaker,
            on,
        });
    }

    /// Registers the tasks of a worker. An MCP server serves all its tools, unless the section names tasks.
    fn serve(
        &mut self,
        name: &str,
        place: Span,
        spec: &WorkerSpec,
        terms: &SharedTerms,
        named: &mut HashMap<TaskName, Span>,
        problems: &mut Problems,
    ) -> ServedTasks {
        if matches!(spec.protocol.get(), Some(ClapWord(Protocol::Mcp))) && !spec.tasks.is_present()
        {
            if self.other_tasks.replace(terms.clone()).is_some() {
                let message = "a second worker would serve every tool that its server offers";
                let help =
                    "set `tasks: [..]` for one of the two workers, or write one file for each";
                problems.push(Diagnostic::error(place, message).help(help));
            }
            return ServedTasks::Everything;
        }
        let own_name = Spanned {
            value: TaskName::from(name),
            span: place,
        };
        let tasks = match spec.tasks.get() {
            Some(tasks) => tasks.clone(),
            None => vec![own_name],
        };
        if let (true, Some(place)) = (tasks.is_empty(), spec.tasks.span()) {
            let message = format!("worker `{name}` serves no tasks");
            problems.push(Diagnostic::error(place, message).help("name a task, or leave it out"));
        }
        for Spanned { value: task, span } in &tasks {
            if let Some(first) = named.insert(task.clone(), *span) {
                let message = format!("two workers serve `{task}`");
                problems.push(
                    Diagnostic::error(*span, message)
                        .other(first, "one of them")
                        .help("a task has one worker; set the tasks of each worker with `tasks`"),
                );
            }
            self.tasks.insert(task.clone(), terms.clone());
        }
        ServedTasks::Named(tasks.into_iter().map(|task| task.value).collect())
    }

    /// Sets the terms of a job, and reports names that do not exist.
    pub(super) fn settle(&mut self, job: &mut Job, places: &JobPlaces, problems: &mut Problems) {
        if let Some(own) = &places.terms {
            let limits = own.terms.limits.iter().flatten().zip(&own.limits);
            for (limit, place) in limits {
                check_limit(&self.limits, limit, *place, problems);
            }
            for need in own.terms.resources.iter().flatten() {
                let mut written = own.resources.iter();
                let place = written.find(|(name, _)| *name == need.name);
                let place = place.map_or(places.head, |(_, place)| *place);
                resources::check(&self.known_resources, need, place, problems);
            }
            check_words(&self.hosts, &own.on, problems);
            if let (Work::Task { .. }, Some(memory)) = (&job.work, own.memory) {
                let message = "a job of a worker cannot have `memory`, because the worker does more than one job";
                let help = "set `memory` in the section of the worker";
                problems.push(Diagnostic::error(memory, message).help(help));
            }
            if let (Work::Task { .. }, Some(on)) = (&job.work, own.on_key) {
                let message = "a job of a worker cannot have `on`: it runs where its worker runs";
                let help = "set `on` in the section of the worker, or in `defaults`";
                problems.push(Diagnostic::error(on, message).help(help));
            }
        }
        let task = match &mut job.work {
            Work::Task { task, .. } => {
                let Some(known) = self.task(task) else {
                    problems.push(self.unknown_task(task, places.work));
                    return;
                };
                *task = known.clone();
                Some(known)
            }
            Work::Refused { .. } => return,
            _ => None,
        };
        self.start(job, places, problems);
        let task = task.as_ref().map(TaskName::as_str);
        let overridden = if self.overrides.is_empty() {
            None
        } else {
            self.overridden(job, places)
        };
        let overridden = match self.groups.of(places.group.as_deref()) {
            None => overridden,
            fail_fast => {
                let own = places
                    .terms
                    .as_ref()
                    .map(|own| PartialTerms::clone(&own.terms));
                let terms = overridden.or(own).unwrap_or_default();
                Some(PartialTerms { fail_fast, ..terms })
            }
        };
        let retry = places.terms.as_ref().and_then(|own| own.retry);
        let settled = match (&places.terms, &overridden) {
            (_, Some(terms)) => self.terms(task, terms, retry),
            (Some(own), None) => self.terms(task, &own.terms, retry),
            (None, None) => self.plain_terms(task),
        };
        match settled {
            Ok(terms) => job.terms = terms,
            Err(TermsError { error, place }) => {
                let mut found = Diagnostic::error(place.unwrap_or(places.head), error.reason);
                found.help = error.hint;
                // An error in shared terms is reported once, not for every job.
                if !problems.contains(&found) {
                    problems.push(found);
                }
                return;
            }
        }
        self.check_idle_timeout(job, places, problems);
        self.check_shares(job, places, problems);
        self.check_pull(job, task, places, problems);
        let own = places.terms.as_ref();
        check_memory_growth(job, places, problems);
        check_cached_files(job, places, problems);
        if job.terms.on != Placement::Here {
            self.send_elsewhere(job, places, problems);
        } else if let Some(slots) = self.slots.filter(|slots| job.terms.slots > *slots) {
            let message = format!(
                "a job of {} slots can never run with {slots} in all",
                job.terms.slots
            );
            let place = own.and_then(|own| own.slots).unwrap_or(places.head);
            problems.push(Diagnostic::error(place, message).help("lower `slots`, or raise --jobs"));
        }
        let place = own.and_then(|own| own.hint).unwrap_or(places.head);
        self.check_rate(&job.terms, task, place, problems);
    }

    /// Refuses an idle timeout of a command.
    fn check_idle_timeout(&self, job: &Job, places: &JobPlaces, problems: &mut Problems) {
        if !matches!(job.work, Work::Command(_)) || job.terms.timeouts.idle.is_none() {
            return;
        }
        let of_job = places.terms.as_ref().and_then(|own| own.idle);
        let of_override = || {
            let mut overrides = self.overrides.iter();
            let matching =
                overrides.find(|one| one.pattern.matches(job, places.group.as_deref()))?;
            matching.idle
        };
        let place = of_job.or_else(of_override).or(self.default_idle);
        let message = "a command cannot report progress, so it cannot have an idle timeout";
        let help = "use `soft` or `hard`, or set `idle` only for jobs and workers of tasks";
        let found = Diagnostic::error(place.unwrap_or(places.head), message).help(help);
        // An idle timeout that many jobs have in common is reported once.
        if !problems.contains(&found) {
            problems.push(found);
        }
    }

    /// Reports a variable that names a resource of which the job takes nothing.
    fn check_shares(&self, job: &Job, places: &JobPlaces, problems: &mut Problems) {
        let Work::Command(process) = &job.work else {
            return;
        };
        if self.known_resources.is_empty() {
            return;
        }
        let takes = |name: &str| job.terms.resources.iter().any(|need| need.name == name);
        for (variable, value) in process.env.declared() {
            let Some(value) = value.to_str() else {
                continue;
            };
            let lacks = |name: &&str| value.contains(&format!("${{{name}}}")) && !takes(name);
            let mut known = self.known_resources.iter().map(|(name, _)| name.as_str());
            if let Some(name) = known.find(lacks) {
                let variable = variable.to_string_lossy();
                let message = format!(
                    "`{variable}` refers to `${{{name}}}`, but the job takes none of this resource"
                );
                let help = format!("add `resources: {{{name}: 1}}` to the job");
                problems.push(Diagnostic::error(places.work, message).help(help));
            }
        }
    }

    /// Returns the limits and resources that jobs can name.
    fn declared(&self) -> (&[(String, Limit)], &Resources) {
        (&self.limits, &self.known_resources)
    }

    /// Refuses a job that is to bring files back from a worker that cannot.
    fn check_pull(
        &mut self,
        job: &Job,
        task: Option<&str>,
        places: &JobPlaces,
        problems: &mut Problems,
    ) {
        if let (Work::Task { pull: Some(_), .. }, Some(reason)) =
            (&job.work, self.shared(task).no_pull)
        {
            let (message, help) = match reason {
                NoPull::NoFolder => (
                    "`pull` takes files from the work folder of the worker, and it has none on its host",
                    "add `push` to the worker",
                ),
                NoPull::Filter => (
                    "`pull` is not possible with `protocol: lines`: an answer may turn out to be that of another job",
                    "let the worker speak JSON, or use `run`",
                ),
            };
            problems.push(Diagnostic::error(places.work, message).help(help));
        }
    }

    /// Prepares a command for another host, and reports what is possible only on this machine.
    fn send_elsewhere(&self, job: &mut Job, places: &JobPlaces, problems: &mut Problems) {
        if job.terms.on == Placement::Host && job.host.is_none() {
            let message = "`on: host` means the host that the job names, and this job names none";
            let place = places.terms.as_ref().and_then(|own| own.on_key);
            problems.push(
                Diagnostic::error(place.unwrap_or(places.head), message).help("add `host: NAME`"),
            );
        } else if let (Placement::Host, Some(host)) = (&job.terms.on, &job.host)
            && !self.hosts.is_host(host.as_str())
        {
            let message = format!("the job has to run on host `{host}`, which is not declared");
            let error = Diagnostic::error(places.head, message);
            let error = error.help("declare it, as in `hosts: {web1: {ssh: deploy@web1.example}}`");
            problems.push(error.did_you_mean(host.as_str(), self.hosts.words(), "known hosts"));
        }
        if matches!(job.terms.cache, Some(CacheTerms::On { .. })) {
            let message = "the result of a command on another host cannot be reused";
            let help = "leave out `cache`: ratchet cannot see the files and programs of that host";
            problems.push(Diagnostic::error(places.head, message).help(help));
        }
        if let (true, Some(name)) = (
            job.terms.memory.are_set(),
            self.hosts.without_agent(&job.terms.on),
        ) {
            let message = format!(
                "the job can run on host `{name}`, which has no agent, so its memory is not measured"
            );
            let place = places.terms.as_ref().and_then(|own| own.memory);
            let help = "leave `memory` out, or `agent: none`";
            let place = place.unwrap_or(places.head);
            problems.push(Diagnostic::error(place, message).help(help));
        }
        if let Work::Command(process) = &mut job.work {
            let process = Arc::make_mut(process);
            let keep = self.keep_remote.then_some(job.id.as_str());
            let folder = self.folders.at(places.head);
            prepare_for_remote(process, folder, keep, places.head, problems);
        }
    }

    /// Reports jobs that share a rate key and set different rates.
    fn check_rate(
        &mut self,
        terms: &Terms,
        task: Option<&str>,
        place: Span,
        problems: &mut Problems,
    ) {
        let Some(ParallelizationHint::RateLimited {
            requests_per_second,
            burst,
            key,
        }) = &terms.hint
        else {
            return;
        };
        // A command without a key uses the name of its program. The executor checks that.
        let Some(key) = key.as_deref().or(task) else {
            return;
        };
        match self.rates.get(key) {
            None => {
                let figures = (*requests_per_second, *burst, place);
                self.rates.insert(key.to_owned(), figures);
            }
            Some((rate, other, first)) => {
                if (rate, other) != (requests_per_second, burst) {
                    let message = format!(
                        "rate key `{key}` is {requests_per_second}/s with burst {burst} here, and {rate}/s with burst {other} elsewhere"
                    );
                    problems.push(
                        Diagnostic::error(place, message)
                            .other(*first, "declared first here")
                            .help("give one of them another `key`"),
                    );
                }
            }
        }
    }

    /// Returns the name of a task that is served. All jobs of the task share its memory.
    fn task(&mut self, name: &TaskName) -> Option<TaskName> {
        if let Some((known, _)) = self.tasks.get_key_value(name) {
            return Some(known.clone());
        }
        let shared = self.other_tasks.as_ref()?;
        if self.tasks.len() < MAX_KEPT {
            self.tasks.insert(name.clone(), shared.clone());
        }
        Some(name.clone())
    }

    fn unknown_task(&self, name: &TaskName, place: Span) -> Diagnostic {
        let error = Diagnostic::error(place, format!("no worker serves `{name}`"));
        let mut names: Vec<_> = self.tasks.keys().map(TaskName::as_str).collect();
        names.sort_unstable();
        if names.is_empty() {
            return error.help(format!(
                "add `workers: {{{name}: {{command: [..]}}}}`, or name a command with --worker"
            ));
        }
        error.did_you_mean(name.as_str(), names, "known tasks")
    }

    /// Returns the shared terms of a task, or of commands.
    fn shared(&mut self, task: Option<&str>) -> &mut SharedTerms {
        let Some(task) = task else {
            return &mut self.commands;
        };
        match self.tasks.get_mut(task) {
            Some(shared) => shared,
            None => self.other_tasks.as_mut().unwrap_or(&mut self.commands),
        }
    }

    /// Returns the terms of a job that sets none itself.
    fn plain_terms(&mut self, task: Option<&str>) -> Result<Arc<Terms>, TermsError> {
        let shared = self.shared(task);
        if let Some(terms) = &shared.plain {
            return Ok(Arc::clone(terms));
        }
        let (terms, place) = (shared.terms.clone(), shared.retry);
        let terms = terms.settle(&self.hosts);
        let terms = Arc::new(terms.map_err(|error| TermsError { error, place })?);
        self.shared(task).plain = Some(Arc::clone(&terms));
        Ok(terms)
    }

    /// Returns the terms of a job that sets some itself. Jobs with equal terms share them.
    fn terms(
        &mut self,
        task: Option<&str>,
        own: &PartialTerms,
        retry: Option<Span>,
    ) -> Result<Arc<Terms>, TermsError> {
        let shared = self.shared(task);
        let place = retry.or(shared.retry);
        let terms = own.clone().or(&shared.terms);
        if let Some(settled) = self.settled.get(&terms) {
            return Ok(Arc::clone(settled));
        }
        let settled = terms.clone().settle(&self.hosts);
        let settled = Arc::new(settled.map_err(|error| TermsError { error, place })?);
        if self.settled.len() >= MAX_KEPT {
            self.settled.clear();
        }
        self.settled.insert(terms, Arc::clone(&settled));
        Ok(settled)
    }
}

/// Returns the folder of a command, in which variables were replaced by their values.
fn expanded_cwd(
    declared: &BTreeMap<String, String>,
    cwd: &Spanned<String>,
    problems: &mut Problems,
) -> Option<String> {
    let mut refuse = |message: String, help: &str| {
        let error = Diagnostic::error(cwd.span, message).help(help);
        // A folder that many jobs have in common is reported once.
        if !problems.contains(&error) {
            problems.push(error);
        }
        None
    };
    if let Some(name) = variables::undeclared(declared, &cwd.value) {
        return refuse(
            format!(
                "`cwd` refers to `${{{name}}}`, which is not a variable of the job or of the file"
            ),
            "declare it in `env` of the job or of `defaults`; write `$${` for the characters `${`",
        );
    }
    match variables::expand(declared, &cwd.value) {
        Ok(cwd) => Some(cwd),
        // The variable itself is reported as well.
        Err(VariablesError::Circle(name) | VariablesError::TooLong(name)) => refuse(
            format!("`cwd` refers to `${{{name}}}`, which cannot be expanded"),
            "correct the variable",
        ),
    }
}

/// Returns the error of a file with workers if `--worker` was typed, too.
fn second_worker(workers: Span) -> Diagnostic {
    let message = "this file has workers, and --worker adds another one";
    Diagnostic::error(workers, message)
        .help("leave out --worker, or remove `workers` from the file")
}

/// Whether a problem was found within a section.
fn is_within(section: Span, problems: &Problems) -> bool {
    let is_inside = |inner: Span| section.start() <= inner.start() && inner.end() <= section.end();
    let mut found = problems.iter();
    found.any(|found| found.span.is_some_and(is_inside))
}

/// The reason why terms contradict each other, with their place if they are in the file.
struct TermsError {
    error: ValueError,
    place: Option<Span>,
}

/// Reports limits and resources that are not declared.
fn check_names(
    (limits, resources): (&[(String, Limit)], &Resources),
    terms: &TermsSpec,
    problems: &mut Problems,
) {
    for limit in terms.limits.get().into_iter().flatten() {
        check_limit(limits, &limit.value, limit.span, problems);
    }
    resources::check_section(resources, terms, problems);
}

fn check_limit(known: &[(String, Limit)], limit: &str, place: Span, problems: &mut Problems) {
    if known.iter().any(|(name, _)| name == limit) {
        return;
    }
    let names = known.iter().map(|(name, _)| name.as_str());
    let error = Diagnostic::error(place, format!("unknown limit `{limit}`"));
    let error = error.help("declare it, as in `limits: {db: {max: 4}}`");
    problems.push(error.did_you_mean(limit, names, "known limits"));
}

/// Returns the limits that a file declares, by name.
fn limits(declared: Vec<Named<LimitSpec>>, problems: &mut Problems) -> Vec<(String, Limit)> {
    let limits = declared.into_iter();
    limits
        .map(|named| (named.name.clone(), limit(named, problems)))
        .collect()
}

/// Returns the limit of a section. A refused limit still counts as declared, so that the jobs that name it are not
/// refused as well.
fn limit(named: Named<LimitSpec>, problems: &mut Problems) -> Limit {
    let name = &named.name;
    let refuse = |message: String, help: &str| Diagnostic::error(named.place, message).help(help);
    let made = named.value.and_then(|spec| match (&spec.max, &spec.rate) {
        (max, rate) if max.is_present() && rate.is_present() => {
            problems.push(refuse(
                format!("limit `{name}` has both a max and a rate"),
                "write two limits; a job can name both",
            ));
            None
        }
        (max, rate) if !max.is_present() && !rate.is_present() => {
            // An unknown key was reported, and was probably meant to be one of these.
            if !spec.place.has_unknown {
                problems.push(refuse(
                    format!("limit `{name}` has neither a max nor a rate"),
                    "write {max: 4} or {rate: 10/s}",
                ));
            }
            None
        }
        (max, _) if max.is_present() => {
            if let Some(burst) = spec.burst.key() {
                problems.push(
                    Diagnostic::error(burst, "`burst` has an effect only with `rate`")
                        .help("leave it out"),
                );
            }
            Some(Limit::max(max.get()?.0))
        }
        (_, rate) => {
            let burst = spec.burst.get().map_or(1, |burst| burst.0);
            Some(Limit::rate(*rate.get()?, burst))
        }
    });
    let made = made.and_then(|made| {
        let refused = |error: ratchet_runtime::Error| {
            problems.push(Diagnostic::error(named.place, error.to_string()));
        };
        made.map_err(refused).ok()
    });
    made.unwrap_or_else(stand_in_limit)
}

/// Makes a limit in place of one that was refused, so that the check can go on and find more errors.
#[expect(clippy::expect_used, reason = "1 is allowed as the max of a limit")]
fn stand_in_limit() -> Limit {
    Limit::max(1).expect("1 is at least 1")
}

/// Refuses a cached result of a job that makes files.
fn check_cached_files(job: &Job, places: &JobPlaces, problems: &mut Problems) {
    let is_cached = matches!(job.terms.cache, Some(CacheTerms::On { .. }));
    let makes_files = match &job.work {
        Work::Command(process) => process.files.is_some(),
        Work::Task { pull, .. } => pull.is_some(),
        _ => false,
    };
    if is_cached && makes_files {
        let message = "the result of a job with files cannot be reused, because reusing a result makes no files";
        let help = "leave out `cache`, or leave out `push` and `pull`";
        problems.push(Diagnostic::error(places.head, message).help(help));
    }
}

/// Warns of a growth of memory that has no effect, because the job takes none.
fn check_memory_growth(job: &Job, places: &JobPlaces, problems: &mut Problems) {
    let own = places.terms.as_ref();
    let mut needs = job.terms.resources.iter();
    if let Some(own) = own
        && own.terms.retry.memory.is_some()
        && !needs.any(|need| need.name == ResourceNeed::MEMORY)
    {
        let message = "`memory` of `retry` has no effect on a job that takes no `memory`";
        let help = "write how much memory the job takes, as in `resources: {memory: 4GiB}`";
        let place = own.retry.unwrap_or(places.head);
        problems.push(Diagnostic::warning(place, message).help(help));
    }
}

/// Refuses a worker of this machine whose program is nowhere in these folders.
fn check_program(
    worker: &str,
    process: &ProcessConfig,
    path: Option<&OsString>,
    place: Span,
    problems: &mut Problems,
) {
    if let Some(missing) = program::missing(process, path) {
        let message = format!("worker `{worker}` cannot start: {missing}");
        problems.push(Diagnostic::error(place, message));
    }
}
