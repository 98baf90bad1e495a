//! Places, and who sits where.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A fixed number of places; clones are the same.
#[derive(Debug, Clone)]
pub struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    most_own: usize,
    taken: Mutex<Taken>,
    /// Somebody left, or became idle. One task waits for it: the one that accepts.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    /// Counts seats and idlings, so that it can be told which came first.
    turn: u64,
    seats: HashMap<u64, Sitting>,
}

#[derive(Debug)]
struct Sitting {
    /// Since which turn it is idle; `None` while it is served.
    idle_since: Option<u64>,
    own: bool,
    leave: Arc<Notify>,
}

impl Taken {
    fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    fn count(&self, own: bool) -> usize {
        self.seats.values().filter(|sitting| sitting.own == own).count()
    }

    fn idle_longest(&self, own: bool) -> Option<u64> {
        let idle = self.seats.iter().filter(|(_, sitting)| sitting.own == own);
        idle.filter_map(|(id, sitting)| Some((sitting.idle_since?, *id))).min().map(|(_, id)| id)
    }

    /// Frees the place of the one that has been idle longest; false where all are being served.
    fn evict(&mut self, own: bool) -> bool {
        let Some(sitting) = self.idle_longest(own).and_then(|id| self.seats.remove(&id)) else {
            return false;
        };
        sitting.leave.notify_one();
        true
    }
}

impl Places {
    /// `most` places for everybody, and `most_own` for those the server knows for its own.
    pub fn new(most: usize, most_own: usize) -> Self {
        Self(Arc::new(Inner { most, most_own, taken: Mutex::default(), freed: Notify::new() }))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more can be seated: at once, unless all are being served. For the one task that accepts; may be
    /// dropped and asked again.
    pub async fn room(&self) {
        loop {
            {
                let taken = self.taken();
                if taken.count(false) < self.0.most || taken.idle_longest(false).is_some() {
                    return;
                }
            }
            self.0.freed.notified().await;
        }
    }

    /// Seats a new client, which is idle until it is [`Seat::busy`]. Where there is no place, the client that has been
    /// idle longest has to go; where all became busy since [`Places::room`], there is one too many for a while.
    pub fn take(&self) -> Seat {
        let mut taken = self.taken();
        if taken.count(false) >= self.0.most {
            taken.evict(false);
        }
        let id = taken.next_turn();
        let leave = Arc::new(Notify::new());
        taken.seats.insert(id, Sitting { idle_since: Some(id), own: false, leave: Arc::clone(&leave) });
        drop(taken);
        Seat { places: self.clone(), id, leave }
    }
}

/// One client's place, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    places: Places,
    id: u64,
    leave: Arc<Notify>,
}

impl Seat {
    /// The client is being served from now on, and keeps its place.
    pub fn busy(&self) {
        if let Some(sitting) = self.places.taken().seats.get_mut(&self.id) {
            sitting.idle_since = None;
        }
    }

    /// The client has what it asked for; from now on it may have to go.
    pub fn idle(&self) {
        let mut taken = self.places.taken();
        let turn = taken.next_turn();
        if let Some(sitting) = taken.seats.get_mut(&self.id) {
            sitting.idle_since = Some(turn);
        }
        drop(taken);
        self.places.0.freed.notify_one();
    }

    /// The client has shown to be one of the server's own: it gets one of their places, as long as there is one.
    pub fn own(&self) {
        let mut taken = self.places.taken();
        // It has lost its place, or has moved already.
        if taken.seats.get(&self.id).is_none_or(|sitting| sitting.own) {
            return;
        }
        if taken.count(true) >= self.places.0.most_own && !taken.evict(true) {
            return;
        }
        if let Some(sitting) = taken.seats.get_mut(&self.id) {
            sitting.own = true;
        }
        drop(taken);
        self.places.0.freed.notify_one();
    }

    /// Ready once somebody else has got the place: the connection is to be closed then.
    pub async fn evicted(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.places.taken().seats.remove(&self.id);
        self.places.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_ready(future: impl Future<Output = ()>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn the_longest_idle_gives_its_place_to_a_new_one() {
        let places = Places::new(3, 0);
        let (first, second, third) = (places.take(), places.take(), places.take());
        // The first has asked for something since: the second is idle for longer now.
        first.busy();
        first.idle();
        third.busy();
        assert!(is_ready(places.room()));
        let fourth = places.take();
        assert!(!is_ready(first.evicted()) && is_ready(second.evicted()) && !is_ready(third.evicted()));
        let _fifth = places.take();
        assert!(is_ready(first.evicted()) && !is_ready(third.evicted()) && !is_ready(fourth.evicted()));
        assert_eq!(places.taken().seats.len(), 3);
        // One that was asked to go frees nothing more by going.
        drop((first, second));
        assert_eq!(places.taken().seats.len(), 3);
    }

    #[test]
    fn there_is_no_room_while_all_are_served() {
        let places = Places::new(2, 0);
        let seats = [places.take(), places.take()];
        seats.iter().for_each(Seat::busy);
        let mut room = Box::pin(places.room());
        assert!(!is_ready(room.as_mut()));
        seats[1].idle();
        assert!(is_ready(room));
        seats[1].busy();
        let mut room = Box::pin(places.room());
        assert!(!is_ready(room.as_mut()));
        drop(seats);
        assert!(is_ready(room));
    }

    #[test]
    fn own_clients_take_no_place_from_others() {
        let places = Places::new(1, 2);
        let own: Vec<Seat> = (0..2)
            .map(|_| {
                let seat = places.take();
                seat.busy();
                seat.own();
                seat
            })
            .collect();
        let guest = places.take();
        guest.busy();
        assert!(!is_ready(places.room()));
        // Where their places are full, one more is a guest unless one of them is idle.
        guest.own();
        assert!(!is_ready(places.room()));
        own[0].idle();
        guest.own();
        assert!(is_ready(own[0].evicted()) && is_ready(places.room()));
        // One that has such a place takes no other's.
        own[1].idle();
        guest.own();
        assert!(!is_ready(own[1].evicted()));
    }
}
