//! Starts and ends plays, and their batches of hosts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use minijinja::Value;

use super::batches;
use super::cursor::{AfterFailure, Cursor};
use super::event::PlayEvent;
use super::frame::Frame;
use super::handlers::Handlers;
use super::host_run::{HostRun, HostState};
use super::known_hosts::KnownHost;
use super::machine::Machine;
use super::play_run::{PlayRun, Strategy};
use super::purpose::{Opening, Purpose};
use super::role_names::RoleNames;
use super::scope::PlayVariables;
use super::stages;
use crate::call::Names;
use crate::language::{Keyword, Play, builtin};
use crate::programs::{self, Answers};
use crate::selection;
use crate::templates::{Variables, is_truthy, map_of_names, render, render_data, text_of};

/// The keywords of a play, evaluated.
#[derive(Debug)]
struct PlayKeywords {
    sizes: Result<Vec<usize>, String>,
    gathers: bool,
    handlers: Handlers,
    is_forced: bool,
    most_failures: Option<f64>,
}

/// Returns the sizes of the batches into which `serial` splits so many hosts.
fn batch_sizes(play: &Play, variables: &Variables, hosts: usize) -> Result<Vec<usize>, String> {
    let Some(data) = play.settings.get(Keyword::Serial) else {
        return Ok(vec![hosts]);
    };
    let value = render_data(data, variables).map_err(|error| error.to_string())?;
    batches::sizes(&value, hosts)
}

impl Machine {
    /// Starts a play: selects its hosts, and splits them into batches.
    pub(super) fn begin_play(&mut self, play: Arc<Play>) {
        self.play_number += 1;
        self.told_task = None;
        self.read_host_variables(&play);
        self.events.push(PlayEvent::Play {
            name: play.name.clone(),
        });
        let all = self.select_hosts(&play);
        let mut hosts = all.clone();
        hosts.retain(|name| !self.lost.contains_key(name));
        if hosts.is_empty() {
            let has_inventory = !self.options.settings.inventory.is_empty();
            if all.is_empty() && !has_inventory && !self.has_told_no_inventory {
                self.has_told_no_inventory = true;
                let advice =
                    "name one with -i, with ANSIBLE_INVENTORY, or as `inventory` in ansible.cfg";
                self.warn(format!(
                    "no inventory is given, so no hosts are known but localhost: {advice}"
                ));
            }
            self.events.push(PlayEvent::NoHosts);
            return;
        }
        let start_at = match &self.options.start_at {
            None => None,
            Some(start) if start.is_in(&play, &self.tags) => self.options.start_at.take(),
            // The call starts in a later play.
            Some(_) => return,
        };
        batches::order(&mut hosts, play.settings.text(Keyword::Order).as_deref());
        let mut variables = self.play_variables(&play);
        let general = variables.of_host(&KnownHost::default(), &self.known, &[]);
        self.reader.set_variables_of_tags(general.clone());
        let magic = Arc::make_mut(&mut variables.magic);
        magic.insert(
            "ansible_play_hosts_all".to_owned(),
            Value::from(all.clone()),
        );
        self.open_play(Opening {
            play,
            all,
            hosts,
            start_at,
            variables,
            general,
            answers: Answers::default(),
        });
    }

    /// Begins a play, once the lookups in its keywords have ended.
    pub(super) fn open_play(&mut self, opening: Opening) {
        let keywords = programs::evaluate(&opening.answers, || self.play_keywords(&opening));
        self.is_opening = keywords.is_err();
        match keywords {
            Ok(keywords) => self.run_play(opening, keywords),
            Err(program) => {
                let names = Names {
                    play: opening.play.name.clone(),
                    task: opening.play.name.clone(),
                    module: "lookup".to_owned(),
                    host: opening.hosts[0].clone(),
                    item: None,
                };
                let limit = self.options.settings.task_timeout;
                let answered = opening.answers.count();
                let purpose = Purpose::Play(Box::new(opening));
                self.give_out_lookup("play", names, *program, limit, answered, purpose);
            }
        }
    }

    /// Evaluates the keywords of a play, without any effect.
    fn play_keywords(&self, opening: &Opening) -> PlayKeywords {
        let play = &opening.play;
        let general = &opening.general;
        let value = |keyword| {
            let data = play.settings.get(keyword)?;
            render_data(data, general).ok()
        };
        let flag = |keyword| value(keyword).is_some_and(|value| is_truthy(&value));
        let render_name = |text: &str| {
            render(text, general).map_or_else(|_| text.to_owned(), |name| text_of(&name))
        };
        PlayKeywords {
            sizes: batch_sizes(play, general, opening.hosts.len()),
            gathers: match value(Keyword::GatherFacts) {
                Some(value) => is_truthy(&value),
                None => self.options.settings.gathers_facts(),
            },
            handlers: Handlers::of(play, render_name),
            is_forced: flag(Keyword::ForceHandlers) || self.options.settings.force_handlers,
            most_failures: value(Keyword::MaxFailPercentage)
                .and_then(|value| batches::number(&value)),
        }
    }

    /// Begins the first batch of hosts of a play.
    fn run_play(&mut self, opening: Opening, keywords: PlayKeywords) {
        let play = opening.play;
        let frame = Frame::of_play(&play);
        let sizes = keywords.sizes.unwrap_or_else(|reason| {
            self.warn(format!("`serial`: {reason}; all hosts are one batch"));
            vec![opening.hosts.len()]
        });
        let gather = keywords.gathers.then(|| play.gathering_task());
        let run = PlayRun {
            frame: Arc::clone(&frame),
            stages: stages::stages(&play, gather).into(),
            role_names: RoleNames::of(&play),
            handlers: keywords.handlers,
            variables: opening.variables,
            strategy: self.strategy(&play),
            start_at: opening.start_at,
            batches: batches::split(&opening.hosts, &sizes).into(),
            all: opening.all,
            batch: Vec::new(),
            hosts: HashMap::new(),
            failed_in_task: BTreeSet::new(),
            fails_all_hosts: false,
            has_failed_on_all_hosts: false,
            is_stopped: false,
            is_ended: false,
            is_forced: keywords.is_forced,
            most_failures: keywords.most_failures,
            number: self.play_number,
            play,
        };
        self.current = Some(run);
        self.begin_batch();
    }

    /// Returns the hosts of a play that are not lost, and learns their variables.
    fn select_hosts(&mut self, play: &Play) -> Vec<String> {
        let selected = selection::hosts(play, &self.inventory, self.options.limit.as_ref());
        for name in &selected.unknown {
            self.warn(format!("no host or group `{name}` is in the inventory"));
        }
        for name in &selected.names {
            if !self.lost.contains_key(name) && self.known.get(name).is_none() {
                self.know(name);
            }
        }
        selected.names
    }

    /// Returns how the hosts of a play go through its tasks.
    fn strategy(&self, play: &Play) -> Strategy {
        let name = play.settings.text(Keyword::Strategy);
        let name = name.or_else(|| self.options.settings.strategy.clone());
        match name.as_deref().map(builtin) {
            Some("free") => Strategy::Free,
            Some("host_pinned") => Strategy::Pinned,
            _ => Strategy::Linear,
        }
    }

    /// Starts the next batch of hosts, or ends the play if there is none.
    pub(super) fn begin_batch(&mut self) {
        let Some(run) = &mut self.current else {
            return;
        };
        let Some(batch) = run.batches.pop_front() else {
            self.current = None;
            return;
        };
        // Later batches go through the whole play.
        let start_at = run.start_at.take().map(Arc::new);
        run.hosts = batch
            .iter()
            .map(|name| {
                let host = HostRun {
                    cursor: Cursor::new(Arc::clone(&run.stages), Arc::clone(&run.frame)),
                    state: HostState::Going,
                    has_left: false,
                    running: None,
                    is_starting: false,
                    notifications: Vec::new(),
                    notified: BTreeSet::new(),
                    start_at: start_at.clone(),
                    finished_roles: Vec::new(),
                    files: Vec::new(),
                    includes: Vec::new(),
                    is_forced: false,
                };
                (name.clone(), host)
            })
            .collect();
        let lost = &self.lost;
        let all = run.all.iter().filter(|name| !lost.contains_key(*name));
        let all: Vec<_> = all.cloned().collect();
        run.batch = batch;
        run.tell_hosts(&all);
        // Roles that an earlier batch has included are not known to this one.
        run.role_names = RoleNames::of(&run.play);
        Arc::make_mut(&mut run.variables.magic).extend(run.role_names.magic());
        self.told_task = None;
    }

    /// Ends a batch of hosts, and starts the next batch unless the play is over.
    pub(super) fn end_batch(&mut self) {
        let Some(run) = &mut self.current else {
            return;
        };
        let lost = |state| matches!(state, HostState::Failed | HostState::Unreachable);
        let states = run.batch.iter().filter_map(|name| {
            let state = run.hosts.get(name)?.state;
            lost(state).then(|| (name.clone(), state))
        });
        let failed: Vec<_> = states.collect();
        let is_all = failed.len() == run.batch.len();
        // Hosts that left the play before a failure of all hosts do not go on to later plays without the others.
        let has_recovered = run
            .hosts
            .values()
            .any(|host| !lost(host.state) && !host.has_left);
        let is_over = is_all
            || self.has_error
            || run.is_stopped
            || run.has_failed_on_all_hosts && !has_recovered
            || run.is_too_many(failed.len());
        run.has_failed_on_all_hosts = false;
        let is_ended = run.is_ended;
        self.lost.extend(failed);
        if is_over {
            // The later batches and plays build on this one, so they do not run either.
            self.current = None;
            if !self.plays.is_empty() || is_all {
                self.events.push(PlayEvent::NoHostsLeft);
            }
            self.plays.clear();
        } else if is_ended {
            self.current = None;
        } else {
            self.begin_batch();
        }
    }

    /// Marks a host as failed if no section handles its failure, and stops the play if too many have failed.
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

    /// Collects the variables of a play.
    pub(super) fn play_variables(&mut self, play: &Arc<Play>) -> PlayVariables {
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
        magic.insert("groups".to_owned(), map_of_names(groups.collect()));
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

    /// Updates the variable `groups` of the play in progress, after a task has changed the groups.
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
