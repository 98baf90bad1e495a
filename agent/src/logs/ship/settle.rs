//! What an answer means for what is shipped next: taken, rejected for its time, or refused for good.

use std::time::Instant;

use rsqlflow_config::time;

use super::super::batch::BATCH_EVENTS_MAX;
use super::super::mark::Sending;
use super::super::notice::Missing;
use super::Shipping;

/// Events keep the time of their printing, unless that is what they are rejected for and is off by more than this.
const STALE_AFTER_MS: i64 = 60 * 1000;

/// So many refused events in a row, and it is not the events: whole batches are left out until one is taken.
const REFUSED_MAX: u32 = 8;

impl Shipping {
    /// A batch was taken, apart from what was rejected.
    pub(super) fn settle(
        &mut self,
        mut rejected: Missing,
        date: Option<i64>,
        count: usize,
        notice: bool,
        sending: Sending,
    ) {
        let total = rejected.count();
        if total == count && self.redate(date, sending) {
            return;
        }
        // A host's clock that was wrong may be right by now.
        if self.service.is_some() && date.is_some() {
            self.compare_clocks(date);
        }
        if notice {
            // It came first.
            let lost = match &mut rejected {
                Missing { too_old: n @ 1.., .. } | Missing { expired: n @ 1.., .. } => Some(n),
                Missing { too_new: n, .. } if total == count => Some(n),
                _ => None,
            };
            match lost {
                Some(n) => {
                    *n -= 1;
                    self.told_in_vain = true;
                }
                None => self.missing = Missing::default(),
            }
        }
        let metrics = &self.shipper.context.metrics;
        metrics.log_events(count - total, usize::try_from(sending.to - self.mark.position).unwrap_or(0));
        if total > 0 {
            metrics.log_events_rejected(total);
            tracing::warn!(
                job_id = self.shipper.job_id,
                rejected = total,
                count,
                "CloudWatch Logs rejected log events as too old or too new"
            );
            self.missing.add(rejected);
        } else {
            self.told_in_vain = false;
        }
        self.taken(sending, total < count);
    }

    /// All of a batch was rejected for its time. Where that is another than the service's, it is sent again at the
    /// service's time; false where it is not, so that nothing would come of it. An outage makes a batch old. A clock that
    /// is wrong, or was and has been set back since, makes it too new or too old, and the stream says so: the times of its
    /// lines cannot be compared then.
    fn redate(&mut self, date: Option<i64>, sending: Sending) -> bool {
        self.compare_clocks(date);
        let off = self.now() - sending.at;
        if off.abs() <= STALE_AFTER_MS {
            return false;
        }
        if off < 0 || self.service.is_some() {
            self.redated = true;
            tracing::warn!(
                job_id = self.shipper.job_id,
                seconds = off / 1000,
                "CloudWatch Logs does not take the time of log events: the host's clock is wrong, or was set back; they \
                 are sent with the time of CloudWatch Logs"
            );
        }
        // There is more to send, whether or not there is more to see.
        (self.mark.sending, self.seen) = (None, None);
        self.mark.last_at = self.mark.last_at.min(self.now() - 1);
        true
    }

    /// From now on batches carry the service's time where the host's is far from it, and else the host's.
    fn compare_clocks(&mut self, date: Option<i64>) {
        let host = time::wall().timestamp_millis();
        // Answers are dated in whole seconds, and travel for a while.
        let far = date.filter(|date| date.abs_diff(host) > STALE_AFTER_MS.unsigned_abs());
        self.service = far.map(|date| (date, Instant::now()));
    }

    /// A batch is behind us. `there`: and at least some of it in the stream.
    pub(super) fn taken(&mut self, sending: Sending, there: bool) {
        if there {
            // Times that nothing carries may be used again: a clock that was ahead for a while costs no more.
            self.mark.last_at = sending.at;
            self.highest = self.highest.max(sending.at);
            self.refused = 0;
            self.events_max = (self.events_max * 2).min(BATCH_EVENTS_MAX);
        }
        self.untold_from = match self.untold_from {
            // What was taken is not sent again, and it told of what was not.
            _ if there || self.told_in_vain => None,
            from => Some(from.unwrap_or(self.mark.position)),
        };
        self.mark.position = sending.to;
        self.mark.sending = None;
        (self.in_doubt, self.late, self.again, self.redated) = (false, false, false, false);
        self.note();
    }

    /// The service refuses a batch for good: the event that it does not take is looked for by halves, and left out.
    pub(super) fn isolate(&mut self, count: usize, notice: bool, sending: Sending, why: String) {
        if count > 1 && self.refused < REFUSED_MAX {
            self.events_max = count / 2;
            (self.mark.sending, self.seen) = (None, None);
            return;
        }
        tracing::warn!(
            job_id = self.shipper.job_id,
            count,
            error = why,
            "CloudWatch Logs refused log events; they are left out"
        );
        self.shipper.context.metrics.log_events_rejected(count);
        self.refused += 1;
        if self.refused >= REFUSED_MAX {
            self.events_max = BATCH_EVENTS_MAX;
        }
        self.told_in_vain |= notice;
        self.missing.add(Missing { refused: count - usize::from(notice), why, ..Missing::default() });
        self.taken(sending, false);
    }
}
