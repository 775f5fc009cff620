//! Decides what comes next in playbooks: for each end of a job, which jobs follow.
//!
//! The machine does no work and waits for nothing. It gives out calls, is told how each ended, and gives out those that
//! follow, so all of its decisions are tested as values. With the strategy `linear` the hosts of a batch go through the play
//! together: the hosts that are furthest behind do their task, and the others wait for them. With `free` and `host_pinned`
//! each host goes on by itself.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use minijinja::Value;
use ratchet_input::inventory::Inventory;

use super::cursor::{AfterFailure, Cursor, IncludedSteps, Next};
use super::event::Event;
use super::frame::{Frame, TaskNode};
use super::handlers::Handlers;
use super::host_run::{HostRun, HostState, TaskRun};
use super::known_hosts::{KnownHost, KnownHosts};
use super::recap::Recap;
use super::scope::PlayVariables;
use super::stages::{self, Stage};
use super::{Options, batches};
use crate::call::Call;
use crate::data::Data;
use crate::hints::ModuleRegistry;
use crate::host_variables::HostVariables;
use crate::language::{Keyword, Play, Reader, Task, layer_of_localhost};
use crate::result::TaskResult;
use crate::selection;
use crate::templates::{Layer, render, text_of};

/// Where playbooks are, and what comes next.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) options: Options,
    pub(super) inventory: Arc<Inventory>,
    /// The variables of hosts in the inventory and in files beside it and the playbook.
    of_hosts: HostVariables,
    /// The folder of the playbook whose files of variables were read.
    folder: Option<PathBuf>,
    pub(super) reader: Reader,
    pub(super) registry: ModuleRegistry,
    pub(super) known: KnownHosts,
    plays: VecDeque<Arc<Play>>,
    /// How many plays have begun.
    play_number: usize,
    pub(super) current: Option<PlayRun>,
    /// Hosts that have failed or could not be reached: later plays leave them out.
    lost: Vec<String>,
    /// Calls that were decided on and not given out yet.
    pub(super) calls: Vec<Call>,
    /// Which host and item a call that was given out is for.
    pub(super) under_way: HashMap<String, (String, usize)>,
    pub(super) events: Vec<Event>,
    pub(super) recap: Recap,
    /// The name of the task that was told last.
    pub(super) told_task: Option<String>,
}

/// A play that runs.
#[derive(Debug)]
pub(super) struct PlayRun {
    pub(super) play: Arc<Play>,
    pub(super) number: usize,
    pub(super) frame: Arc<Frame>,
    pub(super) stages: Arc<[Stage]>,
    pub(super) handlers: Handlers,
    pub(super) variables: PlayVariables,
    strategy: Strategy,
    /// The hosts of the batches that come later.
    batches: VecDeque<Vec<String>>,
    /// All hosts of the play.
    pub(super) all: Vec<String>,
    /// The hosts of this batch in their order.
    pub(super) batch: Vec<String>,
    pub(super) hosts: HashMap<String, HostRun>,
    /// Whether a failure ends the play for all hosts of the batch.
    pub(super) is_stopped: bool,
    /// Whether the play is over because of `end_play`.
    pub(super) is_ended: bool,
    is_forced: bool,
    most_failures: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strategy {
    Linear,
    Free,
    /// As many hosts as there are slots go through the play, each by itself.
    Pinned,
}

/// A task, and the hosts that do it.
type Group = (TaskNode, Option<usize>, Vec<String>);

impl Machine {
    pub(super) fn new(
        plays: Vec<Arc<Play>>,
        inventory: Inventory,
        reader: Reader,
        registry: ModuleRegistry,
        options: Options,
    ) -> Self {
        Self {
            options,
            known: KnownHosts::new(reader.extra(), reader.vault()),
            inventory: Arc::new(inventory),
            of_hosts: HostVariables::default(),
            folder: None,
            reader,
            registry,
            plays: plays.into(),
            play_number: 0,
            current: None,
            lost: Vec::new(),
            calls: Vec::new(),
            under_way: HashMap::new(),
            events: Vec::new(),
            recap: Recap::default(),
            told_task: None,
        }
    }

    /// Whether all plays are over.
    pub(super) fn is_done(&self) -> bool {
        self.current.is_none() && self.plays.is_empty()
    }

    /// Takes in what the inventory, and the files beside it and beside a playbook, say of hosts.
    fn read_host_variables(&mut self, play: &Play) {
        if self.folder.as_deref() == Some(play.folder.as_path()) {
            return;
        }
        self.folder = Some(play.folder.clone());
        let (reader, place) = (&mut self.reader, play.place);
        let read = |path: &std::path::Path| reader.data_at(path, place);
        match HostVariables::new(&self.inventory, &play.folder, read) {
            Ok(variables) => self.of_hosts = variables,
            Err(error) => self.warn(error.to_string()),
        }
        if let Err(reason) = self.reader.told() {
            self.warn(reason);
        }
        let names = self.inventory.hosts().map(|(_, host)| host.name.clone());
        for name in names.collect::<Vec<_>>() {
            self.know(&name);
        }
    }

    /// Takes the variables of all hosts in anew, because the inventory has other hosts and groups now.
    pub(super) fn hosts_have_new_variables(&mut self) {
        let play = self.current.as_ref().map(|run| Arc::clone(&run.play));
        self.folder = None;
        if let Some(play) = play {
            self.read_host_variables(&play);
        }
    }

    /// Takes in what the inventory says of a host.
    pub(super) fn know(&mut self, name: &str) {
        let mut before = self.known.get(name).unwrap_or_default();
        if before.facts.is_empty() {
            before.forget_facts();
        }
        let (inventory, groups) = match self.inventory.find_host(name) {
            Some(index) => {
                let mut layers = self.of_hosts.layers(&self.inventory, index);
                if layers.is_empty() {
                    // A host that a task has added is in no file.
                    layers = vec![Layer::from(&self.inventory.variables_of(index))];
                }
                let mut groups = self.inventory.groups_of(index);
                groups.retain(|group| group != "all");
                groups.sort_unstable();
                (layers, groups)
            }
            // The machine of the controller, which is there without an inventory.
            None => (vec![layer_of_localhost()], Vec::new()),
        };
        let short = name.split('.').next().unwrap_or(name);
        let mut magic = BTreeMap::new();
        magic.insert("inventory_hostname".to_owned(), Value::from(name));
        magic.insert("inventory_hostname_short".to_owned(), Value::from(short));
        magic.insert("group_names".to_owned(), Value::from(groups));
        let host = KnownHost {
            inventory,
            magic: Arc::new(magic),
            ..before
        };
        self.known.insert(name, host);
    }

    /// Goes on as far as it can without the end of another call.
    pub(super) fn advance(&mut self) {
        loop {
            if self.current.is_none() {
                let Some(play) = self.plays.pop_front() else {
                    return;
                };
                self.begin_play(play);
                continue;
            }
            self.bring_in_includes();
            let groups = self.next_groups();
            if groups.is_empty() {
                if self.is_busy() {
                    return;
                }
                self.end_batch();
                continue;
            }
            for (node, handler, hosts) in groups {
                self.begin_task(&node, handler, &hosts);
            }
        }
    }

    /// Whether a host of the batch does something.
    fn is_busy(&self) -> bool {
        let hosts = self.current.iter().flat_map(|run| run.hosts.values());
        hosts
            .into_iter()
            .any(|host| host.running.is_some() || !host.includes.is_empty())
    }

    fn begin_play(&mut self, play: Arc<Play>) {
        self.play_number += 1;
        self.told_task = None;
        self.read_host_variables(&play);
        self.events.push(Event::Play {
            name: play.name.clone(),
        });
        let selected = selection::hosts(&play, &self.inventory, self.options.limit.as_ref());
        for name in &selected.unknown {
            self.warn(format!("no host or group `{name}` is in the inventory"));
        }
        let mut hosts = selected.names;
        hosts.retain(|name| !self.lost.contains(name));
        for name in &hosts {
            if self.known.get(name).is_none() {
                self.know(name);
            }
        }
        if hosts.is_empty() {
            self.events.push(Event::NoHosts);
            return;
        }
        batches::order(&mut hosts, play.settings.text(Keyword::Order).as_deref());
        let frame = Frame::of_play(&play);
        let mut variables = self.play_variables(&play);
        let general = variables.of_host(&KnownHost::default(), &self.known, &[]);
        let value = |keyword| {
            let data = play.settings.get(keyword)?;
            crate::templates::render_data(data, &general).ok()
        };
        let flag =
            |keyword| value(keyword).is_some_and(|value| crate::templates::is_truthy(&value));
        let sizes = match play.settings.get(Keyword::Serial) {
            None => Ok(vec![hosts.len()]),
            Some(data) => crate::templates::render_data(data, &general)
                .map_err(|error| error.to_string())
                .and_then(|value| batches::sizes(&value, hosts.len())),
        };
        let sizes = match sizes {
            Ok(sizes) => sizes,
            Err(reason) => {
                self.warn(format!("`serial`: {reason}; all hosts are one batch"));
                vec![hosts.len()]
            }
        };
        let strategy = match play
            .settings
            .text(Keyword::Strategy)
            .or_else(|| self.options.strategy.clone())
            .as_deref()
            .map(crate::language::builtin)
        {
            Some("free") => Strategy::Free,
            Some("host_pinned") => Strategy::Pinned,
            _ => Strategy::Linear,
        };
        let gathers = match value(Keyword::GatherFacts) {
            Some(value) => crate::templates::is_truthy(&value),
            None => self.options.gathers_facts,
        };
        let gather = gathers.then(|| play.gathering_task());
        let names = |hosts: &[String]| Value::from(hosts.to_vec());
        let magic = Arc::make_mut(&mut variables.magic);
        for name in ["ansible_play_hosts_all", "ansible_play_hosts", "play_hosts"] {
            magic.insert(name.to_owned(), names(&hosts));
        }
        let render_name = |text: &str| {
            render(text, &general).map_or_else(|_| text.to_owned(), |name| text_of(&name))
        };
        let run = PlayRun {
            frame: Arc::clone(&frame),
            stages: stages::stages(&play, gather).into(),
            handlers: Handlers::of(&play, &frame, render_name),
            variables,
            strategy,
            batches: batches::split(&hosts, &sizes).into(),
            all: hosts,
            batch: Vec::new(),
            hosts: HashMap::new(),
            is_stopped: false,
            is_ended: false,
            is_forced: flag(Keyword::ForceHandlers) || self.options.force_handlers,
            most_failures: value(Keyword::MaxFailPercentage)
                .and_then(|value| batches::number(&value)),
            number: self.play_number,
            play,
        };
        self.current = Some(run);
        self.begin_batch();
    }

    /// Begins the next batch of hosts, or ends the play if there is none.
    fn begin_batch(&mut self) {
        let Some(run) = &mut self.current else {
            return;
        };
        let Some(batch) = run.batches.pop_front() else {
            self.current = None;
            return;
        };
        run.hosts = batch
            .iter()
            .map(|name| {
                let host = HostRun {
                    cursor: Cursor::new(Arc::clone(&run.stages), Arc::clone(&run.frame)),
                    state: HostState::Going,
                    running: None,
                    notified: std::collections::BTreeSet::new(),
                    finished_roles: Vec::new(),
                    files: Vec::new(),
                    includes: Vec::new(),
                    is_forced: false,
                };
                (name.clone(), host)
            })
            .collect();
        Arc::make_mut(&mut run.variables.magic)
            .insert("ansible_play_batch".to_owned(), Value::from(batch.clone()));
        run.batch = batch;
        self.told_task = None;
    }

    fn end_batch(&mut self) {
        let Some(run) = &mut self.current else {
            return;
        };
        let lost = |state| matches!(state, HostState::Failed | HostState::Unreachable);
        let failed: Vec<_> = run
            .batch
            .iter()
            .filter(|name| run.hosts.get(*name).is_some_and(|host| lost(host.state)))
            .cloned()
            .collect();
        let is_all = failed.len() == run.batch.len();
        let is_over = is_all || run.is_stopped || run.is_too_many(failed.len());
        let is_ended = run.is_ended;
        self.lost.extend(failed);
        if is_over {
            // The batches and plays that follow build on this one.
            self.current = None;
            if !self.plays.is_empty() || is_all {
                self.events.push(Event::NoHostsLeft);
            }
            self.plays.clear();
        } else if is_ended {
            self.current = None;
        } else {
            self.begin_batch();
        }
    }

    pub(super) fn warn(&mut self, message: String) {
        self.events.push(Event::Warning(message));
    }

    /// The hosts that do a task now, by the task.
    fn next_groups(&mut self) -> Vec<Group> {
        let Some(run) = &self.current else {
            return Vec::new();
        };
        if run.is_ended {
            return Vec::new();
        }
        let strategy = run.strategy;
        let batch = run.batch.clone();
        if strategy == Strategy::Linear && self.is_busy() {
            return Vec::new();
        }
        let mut places: BTreeMap<Vec<u32>, Group> = BTreeMap::new();
        let mut free = Vec::new();
        let mut going = 0;
        for name in &batch {
            let is_idle = self
                .host(name)
                .is_some_and(|host| host.running.is_none() && host.includes.is_empty());
            let is_going = self
                .host(name)
                .is_some_and(|host| host.state == HostState::Going);
            if is_going {
                going += 1;
            }
            if strategy == Strategy::Pinned && going > self.options.forks as usize {
                break;
            }
            if !is_idle {
                continue;
            }
            let Some((node, handler)) = self.next_task(name) else {
                continue;
            };
            if strategy == Strategy::Linear {
                let position = self
                    .host(name)
                    .map(|host| host.cursor.position())
                    .unwrap_or_default();
                let group = places
                    .entry(position)
                    .or_insert_with(|| (node, handler, Vec::new()));
                group.2.push(name.clone());
            } else {
                free.push((node, handler, vec![name.clone()]));
            }
        }
        match places.pop_first() {
            Some((_, group)) => vec![group],
            None => free,
        }
    }

    pub(super) fn host(&self, name: &str) -> Option<&HostRun> {
        self.current.as_ref()?.hosts.get(name)
    }

    pub(super) fn host_mut(&mut self, name: &str) -> Option<&mut HostRun> {
        self.current.as_mut()?.hosts.get_mut(name)
    }

    /// The task that a host comes to next. What needs no job is done on the way.
    fn next_task(&mut self, name: &str) -> Option<(TaskNode, Option<usize>)> {
        loop {
            let run = self.current.as_mut()?;
            let (handlers, is_forced) = (run.handlers.clone(), run.is_forced);
            let is_stopped = run.is_stopped;
            let host = run.hosts.get_mut(name)?;
            let is_going =
                host.state == HostState::Going || host.is_forced && host.state == HostState::Failed;
            if !is_going {
                return None;
            }
            if is_stopped && host.state == HostState::Going {
                // A host that has not failed itself ends with the others.
                host.state = HostState::Failed;
                host.is_forced = is_forced;
                if is_forced {
                    host.cursor.skip_to_handlers();
                    continue;
                }
                return None;
            }
            match host.cursor.next() {
                None => {
                    let after = host.cursor.fail();
                    self.after_failure(name, after);
                }
                Some(Next::End) => {
                    if host.state == HostState::Going {
                        host.state = HostState::Ended;
                    }
                    host.is_forced = false;
                    return None;
                }
                Some(Next::Flush) => {
                    if host.is_forced && host.notified.is_empty() {
                        host.cursor.pass();
                        host.cursor.skip_to_handlers();
                    } else {
                        host.cursor.flush(handlers);
                    }
                }
                Some(Next::Role(block)) => {
                    let Some(role) = &block.role else { continue };
                    let key = (role.folder.clone(), Arc::clone(&role.written_parameters));
                    if !role.allows_duplicates && host.finished_roles.contains(&key) {
                        host.cursor.skip_block();
                    }
                }
                Some(Next::RoleEnd(block)) => {
                    if let Some(role) = &block.role {
                        let key = (role.folder.clone(), Arc::clone(&role.written_parameters));
                        if !host.finished_roles.contains(&key) {
                            host.finished_roles.push(key);
                        }
                    }
                }
                Some(Next::Handler(index, node)) => {
                    if host.notified.contains(&index) {
                        return Some((node, Some(index)));
                    }
                    host.cursor.pass();
                }
                Some(Next::Task(node)) => {
                    let tags = node.frame.tags_of(&node.task);
                    if self.options.tags.select(&tags) && self.has_started(name, &node) {
                        return Some((node, None));
                    }
                    if let Some(host) = self.host_mut(name) {
                        host.cursor.pass();
                    }
                }
            }
        }
    }

    /// Whether a task comes at or after the one at which the call starts.
    fn has_started(&mut self, _host: &str, node: &TaskNode) -> bool {
        let Some(wanted) = &self.options.start_at else {
            return true;
        };
        let title = node.title();
        let own = node.task.settings.text(Keyword::Name);
        if title == *wanted || own.as_deref() == Some(wanted) || matches_glob(wanted, &title) {
            self.options.start_at = None;
            return true;
        }
        // Facts are gathered even so, because later tasks may use them.
        crate::language::builtin(&node.task.module) == "gather_facts"
    }

    /// Takes over where a host goes after a failure.
    pub(super) fn after_failure(&mut self, name: &str, after: AfterFailure) {
        if after != AfterFailure::Over {
            return;
        }
        let Some(run) = &mut self.current else {
            return;
        };
        let is_forced = run.is_forced;
        if let Some(host) = run.hosts.get_mut(name) {
            host.state = HostState::Failed;
            if is_forced && !host.is_forced {
                host.is_forced = true;
                host.cursor.skip_to_handlers();
            } else {
                host.is_forced = false;
            }
        }
        let failed = run
            .hosts
            .values()
            .filter(|host| host.state == HostState::Failed)
            .count();
        if run.is_too_many(failed) {
            run.is_stopped = true;
        }
    }

    /// Brings in what the last tasks of hosts have included.
    fn bring_in_includes(&mut self) {
        let Some(run) = &mut self.current else {
            return;
        };
        if run.strategy == Strategy::Linear && run.hosts.values().any(|host| host.running.is_some())
        {
            return;
        }
        let is_linear = run.strategy == Strategy::Linear;
        let waiting: Vec<String> = run
            .batch
            .iter()
            .filter(|name| {
                run.hosts
                    .get(*name)
                    .is_some_and(|host| !host.includes.is_empty() && host.running.is_none())
            })
            .cloned()
            .collect();
        let sets: Vec<Vec<String>> = if is_linear {
            vec![waiting]
        } else {
            waiting.into_iter().map(|name| vec![name]).collect()
        };
        for set in sets.into_iter().filter(|set| !set.is_empty()) {
            let mut all: Vec<(String, Arc<IncludedSteps>)> = Vec::new();
            for name in &set {
                let Some(host) = run.hosts.get(name) else {
                    continue;
                };
                for include in &host.includes {
                    if !all.iter().any(|(key, _)| *key == include.key) {
                        all.push((include.key.clone(), Arc::clone(&include.steps)));
                    }
                }
            }
            let list: Arc<[Arc<IncludedSteps>]> =
                all.iter().map(|(_, steps)| Arc::clone(steps)).collect();
            for name in &set {
                let Some(host) = run.hosts.get_mut(name) else {
                    continue;
                };
                let mine = all
                    .iter()
                    .map(|(key, _)| host.includes.iter().any(|include| include.key == *key))
                    .collect();
                host.includes.clear();
                host.cursor.include(&list, mine);
            }
        }
    }

    /// The task of a host has ended, with this result.
    pub(super) fn take_running(&mut self, name: &str) -> Option<TaskRun> {
        self.host_mut(name)?.running.take()
    }

    /// Tells that a task has ended on a host.
    pub(super) fn tell_result(&mut self, result: TaskResult, has_items: bool) {
        self.recap
            .count(&result.host, result.status, result.changed);
        self.events.push(Event::Ended { result, has_items });
    }

    /// Lets hosts go on that had failed or could not be reached.
    pub(super) fn clear_host_errors(&mut self) {
        self.lost.clear();
        let hosts = self
            .current
            .iter_mut()
            .flat_map(|run| run.hosts.values_mut());
        for host in hosts {
            if matches!(host.state, HostState::Failed | HostState::Unreachable) {
                host.state = HostState::Ended;
            }
        }
    }

    /// Makes the gathered variables of a play.
    fn play_variables(&mut self, play: &Arc<Play>) -> PlayVariables {
        let mut defaults = Vec::new();
        let mut of_roles = Vec::new();
        for block in stages::roles(play) {
            if let Some(role) = &block.role {
                defaults.push(role.defaults.clone());
                of_roles.push(role.variables.clone());
            }
        }
        let mut magic = BTreeMap::new();
        let path = |path: &PathBuf| {
            let path = if path.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                path.clone()
            };
            std::path::absolute(&path)
                .unwrap_or(path)
                .display()
                .to_string()
        };
        magic.insert("playbook_dir".to_owned(), Value::from(path(&play.folder)));
        magic.insert(
            "ansible_play_name".to_owned(),
            Value::from(play.name.as_str()),
        );
        let names = Value::from(play_role_names(play));
        for name in [
            "role_names",
            "ansible_role_names",
            "ansible_play_role_names",
        ] {
            magic.insert(name.to_owned(), names.clone());
        }
        let groups = self.inventory.groups().map(|group| {
            let index = self.inventory.find_group(&group.name);
            let hosts = index
                .map(|index| self.inventory.hosts_of(index))
                .unwrap_or_default();
            let hosts = hosts
                .into_iter()
                .map(|host| self.inventory.get_host(host).name.clone());
            (group.name.clone(), Value::from(hosts.collect::<Vec<_>>()))
        });
        magic.insert(
            "groups".to_owned(),
            crate::templates::map_of_names(groups.collect()),
        );
        magic.extend(self.options.magic());
        PlayVariables {
            extra: self.reader.extra(),
            vault: self.reader.vault(),
            role_defaults: defaults,
            own: play.settings.variables().clone(),
            answers: self.options.answers(self.play_number),
            files: play.files(),
            role_variables: of_roles,
            magic: Arc::new(magic),
        }
    }

    /// Renews what plays know of groups, after a task has changed them.
    pub(super) fn groups_changed(&mut self) {
        let Some(run) = &self.current else { return };
        let play = Arc::clone(&run.play);
        let variables = self.play_variables(&play);
        if let Some(run) = &mut self.current
            && let Some(groups) = variables.magic.get("groups")
        {
            Arc::make_mut(&mut run.variables.magic).insert("groups".to_owned(), groups.clone());
        }
    }
}

impl PlayRun {
    /// Whether so many failures end the play.
    fn is_too_many(&self, failed: usize) -> bool {
        #[expect(
            clippy::cast_precision_loss,
            reason = "there are far fewer hosts than 2^52"
        )]
        self.most_failures
            .is_some_and(|most| failed as f64 * 100.0 / self.batch.len().max(1) as f64 > most)
    }

    /// The hosts of the batch that still go on.
    pub(super) fn going(&self) -> Vec<String> {
        let names = self.batch.iter();
        let is_going = |name: &&String| {
            self.hosts
                .get(*name)
                .is_some_and(|host| matches!(host.state, HostState::Going | HostState::Ended))
        };
        names.filter(is_going).cloned().collect()
    }
}

fn play_role_names(play: &Play) -> Vec<String> {
    let roles = play.roles.iter().filter_map(|step| match step {
        crate::language::Step::Block(block) => block.role.as_deref(),
        crate::language::Step::Task(_) => None,
    });
    roles.map(|role| role.name.clone()).collect()
}

/// Whether a name matches a pattern with `*`.
fn matches_glob(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else {
        return false;
    };
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// A task as machines begin it.
pub(super) fn is_action(task: &Task, name: &str) -> bool {
    crate::language::builtin(&task.module) == name
}

/// What a task of `meta` does.
pub(super) fn meta_word(task: &Task) -> &str {
    let written = task.arguments.free.as_ref().and_then(Data::text);
    written.unwrap_or_default().trim()
}
