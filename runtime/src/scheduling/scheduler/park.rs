//! Parks jobs: they wait for something that the scheduler does not know, and keep their place meanwhile.

use super::super::queue::QueuedState;
use super::Scheduler;
use crate::Error;
use crate::ids::Ticket;

impl Scheduler {
    /// Keeps a waiting job from starting until it is [unparked](Self::unpark). It keeps its place in the order, and its
    /// not-before time goes on. Its wait is charged to [`Blocker::Cache`](crate::Blocker::Cache).
    ///
    /// A job that is parked holds nothing, and no other job waits for it, even if it is due.
    pub(crate) fn park(&mut self, ticket: Ticket) -> Result<(), Error> {
        let id = self.find(ticket)?;
        match self.jobs[id].queued_state {
            QueuedState::Listed | QueuedState::Late => {
                self.leave_lane(id);
                self.keep_parked(id);
            }
            // It is parked when its not-before time has come.
            QueuedState::Delayed | QueuedState::Parked => {}
            QueuedState::Free | QueuedState::Ahead | QueuedState::Running => {
                return Err(Error::NotWaiting { ticket });
            }
        }
        self.jobs[id].is_parked = true;
        Ok(())
    }

    /// Lets a parked job wait for its start again, in its old place.
    pub(crate) fn unpark(&mut self, ticket: Ticket) -> Result<(), Error> {
        let id = self.find(ticket)?;
        if !self.jobs[id].is_parked {
            return Err(Error::NotWaiting { ticket });
        }
        self.jobs[id].is_parked = false;
        // A job that waits for its not-before time enters its lane then.
        if self.jobs[id].queued_state == QueuedState::Parked {
            self.enter(id);
        }
        Ok(())
    }

    /// Puts a job in its lane whose not-before time has come, unless it is parked.
    pub(super) fn enter_unless_parked(&mut self, id: u32) {
        if self.jobs[id].is_parked {
            self.keep_parked(id);
        } else {
            self.enter(id);
        }
    }

    fn keep_parked(&mut self, id: u32) {
        self.note_parked(id);
        self.jobs[id].queued_state = QueuedState::Parked;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Decision, SchedulerSettings};
    use super::*;
    use crate::scheduling::{CancelResult, Priority, SchedulerRequest};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_parked_job_does_not_start_and_keeps_its_place() {
        let start = tokio::time::Instant::now().into_std();
        let mut scheduler = Scheduler::new(SchedulerSettings::default(), start).unwrap();
        let mut push = |priority| {
            let request = SchedulerRequest {
                priority,
                ..SchedulerRequest::new("t")
            };
            scheduler.push(request, start).unwrap()
        };
        let (first, second) = (push(Priority::Low), push(Priority::Low));
        let urgent = push(Priority::Critical);
        for ticket in [first, urgent] {
            scheduler.park(ticket).unwrap();
        }
        // Even when it is due, it holds nobody back.
        let later = start + Duration::from_hours(1_000);
        assert_eq!(scheduler.pop(later), Decision::Start(second));
        scheduler.finish(second).unwrap();
        assert_eq!(scheduler.pop(later), Decision::Idle);
        assert_eq!(scheduler.load().waiting, 2);
        scheduler.unpark(first).unwrap();
        scheduler.unpark(urgent).unwrap();
        assert_eq!(scheduler.pop(later), Decision::Start(urgent));
        scheduler.finish(urgent).unwrap();
        assert_eq!(scheduler.pop(later), Decision::Start(first));
        assert!(scheduler.park(first).is_err());
        assert!(scheduler.unpark(first).is_err());
    }

    #[test]
    fn the_not_before_time_of_a_parked_job_goes_on() {
        let start = tokio::time::Instant::now().into_std();
        let mut scheduler = Scheduler::new(SchedulerSettings::default(), start).unwrap();
        let [long, short, cancelled] = [5, 1, 1].map(|delay| {
            let ticket = scheduler.push(SchedulerRequest::new("t"), start).unwrap();
            scheduler.postpone(ticket, start + SECOND * delay).unwrap();
            scheduler.park(ticket).unwrap();
            ticket
        });
        assert_eq!(
            scheduler.pop(start + SECOND * 2),
            Decision::WaitUntil(start + SECOND * 5)
        );
        for ticket in [long, short] {
            scheduler.unpark(ticket).unwrap();
        }
        assert_eq!(scheduler.pop(start + SECOND * 2), Decision::Start(short));
        assert!(matches!(
            scheduler.cancel(cancelled),
            Ok(CancelResult::Removed)
        ));
        scheduler.finish(short).unwrap();
        assert_eq!(
            scheduler.pop(start + SECOND * 4),
            Decision::WaitUntil(start + SECOND * 5)
        );
        assert_eq!(scheduler.pop(start + SECOND * 5), Decision::Start(long));
        assert_eq!(scheduler.load().waiting, 0);
    }
}
