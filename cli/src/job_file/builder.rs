//! Completes jobs with what the other sections of their file set: workers, limits and terms.

mod checks;
mod command_start;
mod overrides;
mod rate_keys;
mod shared_terms;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use ratchet_runtime::process::{PoolConfig, ProcessConfig};
use ratchet_runtime::{CacheTerms, Job, Limit, Placement, TaskName, Terms, Work};

use self::checks::{check_cached_files, check_memory_growth, check_pull, check_shares};
use self::command_start::CommandStart;
use self::overrides::Overrides;
use self::rate_keys::RateKeys;
use self::shared_terms::{NoPull, SharedTerms, TermsError, TermsTable};
use super::files::prepare_for_remote;
use super::folders::FileFolders;
use super::groups::FailFastGroups;
use super::hosts::{HostRegistry, check_on, check_words};
use super::job::{JobPlaces, OwnTerms, idle_timeout};
use super::options::{BreakerAndBudget, JobPerformer, PlanOptions, ServedTasks, WorkerPlan};
use super::resources::{self, Resources};
use super::spec::{HeaderSpec, Protocol, TermsSpec, WorkerSpec};
use super::terms::PartialTerms;
use super::{breaker, limits, pool, program};
use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::document::{ClapWord, Field, Named, Spanned};

/// Sets the terms of jobs, and checks that the names in them exist.
#[derive(Clone)]
pub(super) struct JobBuilder {
    /// The pools of workers that the file declares.
    pub(super) workers: Vec<WorkerPlan>,
    /// The breakers and the retry budget that the file declares.
    pub(super) protection: BreakerAndBudget,
    /// The groups that are given up when one of their jobs fails.
    pub(super) groups: FailFastGroups,
    /// The names that terms can use.
    names: DeclaredNames,
    folders: FileFolders,
    slots: Option<u32>,
    /// Whether work folders on hosts are kept.
    keep_remote: bool,
    /// The terms of tasks and commands.
    terms: TermsTable,
    /// The place of the idle timeout of all jobs.
    default_idle: Option<Span>,
    overrides: Overrides,
    /// What commands start with if they do not set it.
    start: CommandStart,
    rates: RateKeys,
}

/// The names that terms can use: of limits, resources and hosts.
#[derive(Clone)]
struct DeclaredNames {
    /// The limits that the file declares, by name.
    limits: Vec<(String, Limit)>,
    /// The resources that flags and the file declare, by name.
    resources: Resources,
    /// Those, and the resources that hosts have for themselves.
    all_resources: Resources,
    /// The hosts on which jobs and workers can run.
    hosts: HostRegistry,
}

impl DeclaredNames {
    /// Reports names in the terms of a section that are not declared.
    fn check(&self, terms: &TermsSpec, problems: &mut Problems) {
        for limit in terms.limits.get().into_iter().flatten() {
            limits::check(&self.limits, &limit.value, limit.span, problems);
        }
        resources::check_section(&self.all_resources, terms, problems);
        check_on(&self.hosts, &terms.on, problems);
    }

    /// Reports names in the terms of a job that are not declared.
    fn check_own(&self, own: &OwnTerms, head: Span, problems: &mut Problems) {
        let limits = own.terms.limits.iter().flatten().zip(&own.limits);
        for (limit, place) in limits {
            limits::check(&self.limits, limit, *place, problems);
        }
        for need in own.terms.resources.iter().flatten() {
            let mut written = own.resources.iter();
            let place = written.find(|(name, _)| *name == need.name);
            let place = place.map_or(head, |(_, place)| *place);
            resources::check(&self.all_resources, need, place, problems);
        }
        check_words(&self.hosts, &own.on, problems);
    }
}

/// The terms of jobs and workers that set none: those of flags, of `defaults` and of settings.
struct OuterTerms {
    terms: PartialTerms,
    /// The place of the `retry` in `defaults`, if there is one.
    retry: Option<Span>,
}

impl OuterTerms {
    /// Returns the terms of the jobs of a section that sets these terms itself, and `retry` at this place.
    fn completing(&self, own: PartialTerms, retry: Option<Span>) -> SharedTerms {
        SharedTerms::new(own.or(&self.terms), retry.or(self.retry))
    }
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
        let declared = header.limits.into_value().unwrap_or_default();
        let limits = limits::declared(declared, problems);
        if let Some(variable_of_setting) = options.variable_of_setting {
            let hosts = header.hosts.get().into_iter().flatten();
            let of_hosts = hosts.filter_map(|host| Some(&host.value.as_ref()?.resources));
            for resources in std::iter::once(&header.resources).chain(of_hosts) {
                resources::refuse_names_of_settings(resources, variable_of_setting, problems);
            }
        }
        let resources = resources::declared(header.resources, &options.resources, problems);
        let mut defaults = header.defaults.into_value().unwrap_or_default();
        let start = defaults.take_start();
        let (breaker, retry_budget, defaults) = defaults.into_parts();
        let breaker = options.breaker.or(breaker::from_spec(breaker, problems));
        let hosts = HostRegistry::new(header.hosts, &options.hosts, folder, problems);
        let names = DeclaredNames {
            all_resources: hosts.all_resources(&resources),
            limits,
            resources,
            hosts,
        };
        names.check(&defaults, problems);
        let (retry, default_idle) = (defaults.retry.span(), idle_timeout(&defaults));
        let outer = OuterTerms {
            terms: options
                .flags
                .clone()
                .or(&PartialTerms::from_spec(defaults, folder, problems))
                .or(&options.settings),
            retry,
        };
        let check = |terms: &TermsSpec, problems: &mut Problems| names.check(terms, problems);
        let start = CommandStart::read(start, problems);
        let overrides = Overrides::read(header.overrides, folders, check, problems);
        let mut builder = Self {
            workers: Vec::new(),
            protection: BreakerAndBudget {
                breaker: breaker.flatten(),
                retry_budget,
            },
            groups: FailFastGroups::new(header.groups, &options.fail_fast),
            names,
            folders: folders.clone(),
            slots: options.slots,
            keep_remote: options.keep_remote,
            terms: TermsTable::new(outer.completing(PartialTerms::default(), None)),
            default_idle,
            overrides,
            start,
            rates: RateKeys::default(),
        };
        let workers_key = header.workers.key();
        builder.add_workers(header.workers, &outer, options, problems);
        if options.performer == JobPerformer::Nodes && workers_key.is_none() {
            let mut terms = outer.completing(PartialTerms::default(), None);
            terms.take_placement(&builder.names.hosts);
            builder.terms.serve_others(terms);
        }
        if let Some(pool) = &options.worker {
            problems.extend(workers_key.map(second_worker));
            let mut terms = outer.completing(PartialTerms::default(), None);
            let on = terms.take_placement(&builder.names.hosts);
            builder.terms.serve_others(terms);
            let mut pool = pool.clone();
            options.pools.apply(&mut pool);
            builder.add_typed_worker(pool, on);
        }
        builder
    }

    /// Returns the limits that jobs can name.
    pub(super) fn limits(&self) -> &[(String, Limit)] {
        &self.names.limits
    }

    /// Returns the resources of which jobs can take units, without those that hosts have for themselves.
    pub(super) fn resources(&self) -> &Resources {
        &self.names.resources
    }

    /// Returns the hosts on which jobs and workers can run.
    pub(super) fn hosts(&self) -> &HostRegistry {
        &self.names.hosts
    }

    /// Reads the workers of the file.
    fn add_workers(
        &mut self,
        section: Field<Vec<Named<WorkerSpec>>>,
        outer: &OuterTerms,
        options: &PlanOptions,
        problems: &mut Problems,
    ) {
        let mut named: HashMap<TaskName, Span> = HashMap::new();
        let path = std::env::var_os("PATH");
        for worker in section.into_value().unwrap_or_default() {
            let Named {
                name, place, span, ..
            } = worker;
            let is_refused = is_within(span, problems);
            let folders = self.folders.clone();
            let folder = folders.at(span);
            let mut spec = worker.value.unwrap_or_default();
            let terms = *spec.terms.take().unwrap_or_default();
            self.names.check(&terms, problems);
            let own_breaker = breaker::from_spec(std::mem::take(&mut spec.breaker), problems);
            let retry = terms.retry.span();
            let own = PartialTerms::from_spec(terms, folder, problems);
            let mut own = outer.completing(own, retry);
            let on = own.take_placement(&self.names.hosts);
            own.set_no_pull(NoPull::of(&spec, &on));
            let serves = self.serve(&name, place, &spec, &own, &mut named, problems);
            let memory = spec.memory.key();
            (self.names.hosts).check_memory(&name, memory, &on, problems);
            let command = spec.command.span();
            let pool = pool::from_spec(&name, place, spec, is_refused, folder, options, problems);
            let Some(mut pool) = pool else { continue };
            if on == Placement::Here && options.performer == JobPerformer::Nodes {
                // The nodes have the program.
            } else if on == Placement::Here {
                let place = command.unwrap_or(span);
                check_program(&name, &pool.process, path.as_ref(), place, problems);
            } else {
                let keep = options.keep_remote.then_some(&*name);
                prepare_for_remote(&mut pool.process, folder, keep, place, problems);
            }
            self.workers.push(WorkerPlan {
                pool,
                serves,
                breaker: own_breaker.unwrap_or(self.protection.breaker),
                on,
            });
        }
    }

    /// Goes on with a text that is added to the run. It lies in this folder and begins at `start`, behind the file of the run, as
    /// the text that was added before did. `slots` is how many slots the run has by now.
    pub(super) fn begin_addition(&mut self, start: usize, folder: &Path, slots: u32) {
        self.folders.replace_from(start, folder.to_path_buf());
        self.slots = Some(slots);
        // The places in the text before would be taken for places in this text.
        self.rates.forget_places_from(start);
    }

    /// Warns of overrides that match no job of the file.
    pub(super) fn warn_of_unused_overrides(&self, problems: &mut Problems) {
        self.overrides.warn_of_unused(problems);
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
            if self.terms.serve_others(terms.clone()) {
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
            self.terms.serve(task.clone(), terms.clone());
        }
        ServedTasks::Named(tasks.into_iter().map(|task| task.value).collect())
    }

    /// Sets the terms of a job, and reports names that do not exist.
    pub(super) fn settle(&mut self, job: &mut Job, places: &JobPlaces, problems: &mut Problems) {
        if let Some(own) = &places.terms {
            self.names.check_own(own, places.head, problems);
            check_terms_of_task(job, own, problems);
        }
        let task = match &mut job.work {
            Work::Task { task, .. } => {
                let Some(known) = self.terms.task(task) else {
                    problems.push(self.terms.unknown_task(task, places.work));
                    return;
                };
                *task = known.clone();
                Some(known)
            }
            Work::Refused { .. } => return,
            _ => None,
        };
        self.start.complete(job, places, &self.folders, problems);
        let task = task.as_ref().map(TaskName::as_str);
        match self.settled_terms(job, task, places) {
            Ok(terms) => job.terms = terms,
            Err(error) => {
                let found = error.into_diagnostic(places.head);
                // An error in shared terms is reported once, not for every job.
                if !problems.contains(&found) {
                    problems.push(found);
                }
                return;
            }
        }
        self.check_idle_timeout(job, places, problems);
        check_shares(job, &self.names.all_resources, places, problems);
        if matches!(job.work, Work::Task { pull: Some(_), .. }) {
            check_pull(self.terms.no_pull(task), places, problems);
        }
        check_memory_growth(job, places, problems);
        check_cached_files(job, places, problems);
        let own = places.terms.as_ref();
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
        self.rates.check(&job.terms, task, place, problems);
    }

    /// Refuses an idle timeout of a command.
    fn check_idle_timeout(&self, job: &Job, places: &JobPlaces, problems: &mut Problems) {
        if !matches!(job.work, Work::Command(_)) || job.terms.timeouts.idle.is_none() {
            return;
        }
        let of_job = places.terms.as_ref().and_then(|own| own.idle);
        let of_override = || self.overrides.idle_timeout_of(job, places);
        let place = of_job.or_else(of_override).or(self.default_idle);
        let message = "a command cannot report progress, so it cannot have an idle timeout";
        let help = "use `soft` or `hard`, or set `idle` only for jobs and workers of tasks";
        let found = Diagnostic::error(place.unwrap_or(places.head), message).help(help);
        // An idle timeout that many jobs have in common is reported once.
        if !problems.contains(&found) {
            problems.push(found);
        }
    }

    /// Computes the terms of a job: its own, those of the overrides that match it, and those of its task or of commands.
    fn settled_terms(
        &mut self,
        job: &Job,
        task: Option<&str>,
        places: &JobPlaces,
    ) -> Result<Arc<Terms>, TermsError> {
        let own = places.terms.as_ref();
        let overridden = self.overrides.terms_of(job, places);
        let overridden = match self.groups.of(places.group.as_deref()) {
            None => overridden,
            fail_fast => {
                let own = own.map(|own| PartialTerms::clone(&own.terms));
                let terms = overridden.or(own).unwrap_or_default();
                Some(PartialTerms { fail_fast, ..terms })
            }
        };
        let (retry, hosts) = (own.and_then(|own| own.retry), &self.names.hosts);
        match (own, &overridden) {
            (_, Some(terms)) => self.terms.own(task, terms, retry, hosts),
            (Some(own), None) => self.terms.own(task, &own.terms, retry, hosts),
            (None, None) => self.terms.plain(task, hosts),
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
            && !self.names.hosts.is_host(host.as_str())
        {
            let message = format!("the job has to run on host `{host}`, which is not declared");
            let error = Diagnostic::error(places.head, message);
            let error = error.help("declare it, as in `hosts: {web1: {ssh: deploy@web1.example}}`");
            problems.push(error.did_you_mean(
                host.as_str(),
                self.names.hosts.words(),
                "known hosts",
            ));
        }
        if matches!(job.terms.cache, Some(CacheTerms::On { .. })) {
            let message = "the result of a command on another host cannot be reused";
            let help = "leave out `cache`: ratchet cannot see the files and programs of that host";
            problems.push(Diagnostic::error(places.head, message).help(help));
        }
        if let (true, Some(name)) = (
            job.terms.memory.are_set(),
            self.names.hosts.without_agent(&job.terms.on),
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
}

/// Reports terms that a job of a worker cannot set, because they are those of its worker.
fn check_terms_of_task(job: &Job, own: &OwnTerms, problems: &mut Problems) {
    if !matches!(job.work, Work::Task { .. }) {
        return;
    }
    if let Some(memory) = own.memory {
        let message =
            "a job of a worker cannot have `memory`, because the worker does more than one job";
        let help = "set `memory` in the section of the worker";
        problems.push(Diagnostic::error(memory, message).help(help));
    }
    if let Some(on) = own.on_key {
        let message = "a job of a worker cannot have `on`: it runs where its worker runs";
        let help = "set `on` in the section of the worker, or in `defaults`";
        problems.push(Diagnostic::error(on, message).help(help));
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
