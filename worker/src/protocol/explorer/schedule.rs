//! One course of events: which call is answered next, how, and who dies.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use super::{
    Defect,
    choice::Chooser,
    model::{Call, Desk, Line, Shared},
    worker::{End, live},
    world::{Answer, Op, World},
};
use crate::connector::Authority;

/// What is played.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) authority: Authority,
    pub(super) workers: usize,
    /// Rows in the source; one a commit.
    pub(super) rows: u64,
    /// How often each worker is started again after it died or gave up.
    pub(super) restarts: usize,
    /// The state may be removed once.
    pub(super) loses_state: bool,
    pub(super) defect: Defect,
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Deliver(usize),
    /// Not applied, and the worker is told so.
    Fail(usize),
    /// Applied; the answer is lost.
    LoseAnswer(usize),
    /// The worker gives up; the call arrives later, or never before the end.
    Delay(usize),
    /// Applied twice; the second answer arrives.
    Twice(usize),
    /// The worker dies before the call is applied.
    Die(usize),
    /// The worker dies after it was applied.
    DieAfter(usize),
    /// The worker dies, and the call arrives later.
    DieDelay(usize),
    /// A delayed call arrives.
    Arrive(usize),
    /// Somebody removes the state.
    LoseState,
}

struct Play<'a> {
    setting: &'a Setting,
    shared: Shared,
    lives: Vec<Life>,
    /// The worker that goes on where nothing special happens.
    current: usize,
    /// Calls on their way whose senders wait no more.
    delayed: Vec<Op>,
}

struct Life {
    number: usize,
    restarts: usize,
    future: Option<Pin<Box<dyn Future<Output = End> + Send>>>,
}

/// Plays one course to its end, lets a last worker finish in peace, and holds the result against the invariants.
pub(super) fn run(setting: &Setting, chooser: &mut dyn Chooser) -> Result<(), String> {
    let world = World::new(setting.authority, setting.defect);
    let calls = (0..=setting.workers).map(|_| Call::None).collect();
    let mut play = Play {
        setting,
        shared: Arc::new(Mutex::new(Desk { world, calls })),
        lives: (0..=setting.workers)
            .map(|_| Life {
                number: 0,
                restarts: setting.restarts,
                future: None,
            })
            .collect(),
        current: 0,
        delayed: Vec::new(),
    };
    for worker in 0..setting.workers {
        play.start(worker);
    }
    play.mishaps(chooser)?;
    play.peace()
}

impl Play<'_> {
    fn start(&mut self, worker: usize) {
        let own = Line {
            shared: self.shared.clone(),
            worker,
            defect: self.setting.defect,
        };
        self.shared.lock().unwrap().calls[worker] = Call::None;
        let owner = self.owner(worker);
        let future = live(own, owner, self.setting.authority, self.setting.rows);
        self.lives[worker].future = Some(Box::pin(future));
    }

    fn owner(&self, worker: usize) -> String {
        format!("worker {worker}.{}", self.lives[worker].number)
    }

    /// Until no worker has anything left to do.
    fn mishaps(&mut self, chooser: &mut dyn Chooser) -> Result<(), String> {
        for _ in 0..10_000 {
            for worker in 0..self.setting.workers {
                self.advance(worker)?;
            }
            let events = self.events();
            if events.is_empty() {
                return Ok(());
            }
            let event = events[chooser.choose(events.len())];
            self.happen(event);
            self.holds()?;
        }
        Err("I9: the workers come to no end".to_owned())
    }

    /// Polls a worker until it waits for an answer or ends.
    fn advance(&mut self, worker: usize) -> Result<(), String> {
        loop {
            let Some(future) = &mut self.lives[worker].future else {
                return Ok(());
            };
            match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => return Ok(()),
                Poll::Ready(end) => self.ended(worker, &end)?,
            }
        }
    }

    fn ended(&mut self, worker: usize, end: &End) -> Result<(), String> {
        self.lives[worker].future = None;
        let owner = self.owner(worker);
        let (overtaken, lost) = {
            let world = &self.shared.lock().unwrap().world;
            (world.is_overtaken(&owner), world.state_lost)
        };
        // Where the state was removed under two owners, both may have begun from nothing and share an epoch: the
        // destination lets one of them commit, and the other may say why it stops in several ways.
        let confused = lost && worker < self.setting.workers;
        match end {
            End::Finished => {}
            End::Failed => self.restart(worker),
            End::Fenced if overtaken || confused => {}
            End::Fenced => return Err(format!("{owner} says that it was overtaken, and nobody did")),
            End::Stopped(error) if lost && error.reason == "StateLost" => {}
            End::Stopped(error) if confused && error.reason == "StateDiverged" => {}
            End::Stopped(error) => return Err(format!("{owner} stopped: {error}")),
        }
        self.holds()
    }

    fn restart(&mut self, worker: usize) {
        let life = &mut self.lives[worker];
        life.future = None;
        if life.restarts > 0 {
            life.restarts -= 1;
            life.number += 1;
            self.start(worker);
        }
    }

    /// What may happen, the smooth course first.
    fn events(&mut self) -> Vec<Event> {
        let waiting: Vec<usize> = (0..self.setting.workers)
            .filter(|worker| self.lives[*worker].future.is_some())
            .collect();
        if !waiting.contains(&self.current) {
            let Some(first) = waiting.first() else {
                return Vec::new();
            };
            self.current = *first;
        }
        let current = self.current;
        let mut events = vec![Event::Deliver(current)];
        events.extend(
            waiting
                .iter()
                .filter(|worker| **worker != current)
                .map(|worker| Event::Deliver(*worker)),
        );
        events.extend([Event::Fail(current), Event::Die(current)]);
        let desk = self.shared.lock().unwrap();
        if matches!(&desk.calls[current], Call::Open(op) if op.writes()) {
            let of_writes = [
                Event::LoseAnswer,
                Event::Delay,
                Event::Twice,
                Event::DieAfter,
                Event::DieDelay,
            ];
            events.extend(of_writes.map(|event| event(current)));
        }
        events.extend((0..self.delayed.len()).map(Event::Arrive));
        if self.setting.loses_state && !desk.world.state_lost && desk.world.record.is_some() {
            events.push(Event::LoseState);
        }
        events
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver(worker) => {
                self.current = worker;
                self.answer(worker, |world, op| world.apply(op, false));
            }
            Event::Fail(worker) => self.answer(worker, |_, _| Answer::Failed),
            Event::LoseAnswer(worker) => self.answer(worker, |world, op| {
                world.apply(op, true);
                Answer::Lost
            }),
            Event::Twice(worker) => self.answer(worker, |world, op| {
                world.apply(op, false);
                world.apply(op, false)
            }),
            Event::Delay(worker) => {
                self.delayed.extend(self.open(worker));
                self.answer(worker, |_, _| Answer::Lost);
            }
            Event::Die(worker) => self.restart(worker),
            Event::DieAfter(worker) => {
                self.answer(worker, |world, op| world.apply(op, true));
                self.restart(worker);
            }
            Event::DieDelay(worker) => {
                self.delayed.extend(self.open(worker));
                self.restart(worker);
            }
            Event::Arrive(number) => {
                let op = self.delayed.remove(number);
                self.shared.lock().unwrap().world.apply(&op, false);
            }
            Event::LoseState => {
                let world = &mut self.shared.lock().unwrap().world;
                (world.record, world.state_lost) = (None, true);
            }
        }
    }

    fn open(&self, worker: usize) -> Option<Op> {
        match &self.shared.lock().unwrap().calls[worker] {
            Call::Open(op) => Some(op.clone()),
            _ => None,
        }
    }

    fn answer(&self, worker: usize, act: impl FnOnce(&mut World, &Op) -> Answer) {
        let desk = &mut *self.shared.lock().unwrap();
        if let Call::Open(op) = std::mem::replace(&mut desk.calls[worker], Call::None) {
            desk.calls[worker] = Call::Answered(act(&mut desk.world, &op));
        }
    }

    fn holds(&self) -> Result<(), String> {
        self.shared
            .lock()
            .unwrap()
            .world
            .broken
            .clone()
            .map_or(Ok(()), Err)
    }

    /// No more mishaps: a last worker delivers what is missing, and every delayed call arrives after it.
    fn peace(mut self) -> Result<(), String> {
        let last = self.setting.workers;
        self.start(last);
        for _ in 0..1_000 {
            self.advance(last)?;
            if self.lives[last].future.is_none() {
                break;
            }
            self.answer(last, |world, op| world.apply(op, false));
            self.holds()?;
        }
        if self.lives[last].future.is_some() || self.lives[last].number > 0 {
            return Err("I9: a worker that nobody disturbs does not finish".to_owned());
        }
        for op in std::mem::take(&mut self.delayed) {
            self.shared.lock().unwrap().world.apply(&op, false);
        }
        self.holds()?;
        self.complete()
    }

    fn complete(&self) -> Result<(), String> {
        let world = &self.shared.lock().unwrap().world;
        let source: Vec<u64> = (0..self.setting.rows).collect();
        let mut seen = world.rows.clone();
        if self.setting.authority == Authority::Store {
            seen.sort_unstable();
            seen.dedup();
        }
        // A flow that lost its state stops where it is, and repeats nothing.
        let stopped = world.state_lost && world.last.as_ref().is_some_and(|last| last.generation > 0);
        let right = if stopped {
            source.starts_with(&seen)
        } else {
            seen == source
        };
        if right {
            Ok(())
        } else {
            Err(format!(
                "I1, I2: the source has {source:?}, the destination {:?}",
                world.rows
            ))
        }
    }
}
