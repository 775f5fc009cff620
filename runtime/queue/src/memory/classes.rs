//! Classes of jobs: those that the same nodes can do.

use std::collections::{BTreeMap, HashMap};

use ratchet_runtime::Kind;
use smol_str::SmolStr;

use crate::clock::Moment;
use crate::error::Error;
use crate::job::JobSpec;
use crate::names::{JobName, Label, NodeId};
use crate::node::NodeSpec;

/// The number of a class. It is the number of the scheduler's kind of worker, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClassId(u16);

impl ClassId {
    /// Returns the kind of worker that stands for the class.
    pub(super) fn kind(self) -> Kind {
        Kind(self.0)
    }
}

/// A place in the order of the queue, fixed when a job's needs are met and kept from then on. It is the order of the
/// scheduler, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    /// The moment from which the job is due.
    pub(super) due: Moment,
    /// The number of jobs that came before it.
    pub(super) number: u64,
}

/// What a node must have for the jobs of a class.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Demand {
    task: SmolStr,
    labels: Vec<Label>,
    slots: u32,
}

/// Jobs that the same nodes can do.
#[derive(Debug)]
pub(super) struct Class {
    demand: Demand,
    /// How many living nodes can do these jobs. While there is none, no job of the class is in the scheduler.
    pub(super) nodes: usize,
    /// The jobs that wait for their turn.
    pub(super) waiting: BTreeMap<Turn, JobName>,
    /// The node that is kept free until a job of this class has started there.
    pub(super) reserved: Option<NodeId>,
}

impl Class {
    /// Returns how many slots each job fills.
    pub(super) fn slots(&self) -> u32 {
        self.demand.slots
    }
}

/// All classes. There are few: they follow from the different tasks, labels and slots, and not from the number of jobs.
#[derive(Debug, Default)]
pub(super) struct Classes {
    list: Vec<Class>,
    index: HashMap<Demand, ClassId>,
}

impl Classes {
    /// Finds or makes the class of a job, and says whether it is new.
    pub(super) fn of(&mut self, job: &JobSpec) -> Result<(ClassId, bool), Error> {
        let demand = Demand {
            task: job.task.clone(),
            labels: job.sorted_labels(),
            slots: job.slots,
        };
        if let Some(&id) = self.index.get(&demand) {
            return Ok((id, false));
        }
        let id = u16::try_from(self.list.len()).map_err(|_| Error::InvalidJob {
            job: job.name.clone(),
            reason: "has one more combination of task, labels and slots than a queue in memory can hold",
        })?;
        self.index.insert(demand.clone(), ClassId(id));
        self.list.push(Class {
            demand,
            nodes: 0,
            waiting: BTreeMap::new(),
            reserved: None,
        });
        Ok((ClassId(id), true))
    }

    /// Returns the classes of which a node can do the jobs.
    pub(super) fn served_by(&self, node: &NodeSpec) -> Vec<ClassId> {
        let all = (0..).map(ClassId).zip(&self.list);
        all.filter(|(_, class)| class.is_served_by(node))
            .map(|(id, _)| id)
            .collect()
    }

    /// Returns a class.
    #[expect(clippy::indexing_slicing, reason = "classes are never removed")]
    pub(super) fn get(&self, id: ClassId) -> &Class {
        &self.list[usize::from(id.0)]
    }

    /// Returns a class, to be changed.
    #[expect(clippy::indexing_slicing, reason = "classes are never removed")]
    pub(super) fn get_mut(&mut self, id: ClassId) -> &mut Class {
        &mut self.list[usize::from(id.0)]
    }
}

impl Class {
    /// Whether a node can do these jobs.
    pub(super) fn is_served_by(&self, node: &NodeSpec) -> bool {
        node.can_do(&self.demand.task, &self.demand.labels, self.demand.slots)
    }
}
