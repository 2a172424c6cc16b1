//! Machines with slots that work through the queue, event by event and without a clock of this world.
//!
//! What decides is the product's own where it is pure: when a failed render is tried again ([`retry`]). The order of claims is
//! [`Line`]'s, which is held against the real queue. Times are microseconds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use snaphook::domain::failure::Fault;
use snaphook::domain::retry;

use super::dice::Dice;
use super::histogram::Histogram;
use super::line::Line;

pub(super) const SECOND: u64 = 1_000_000;

/// One request comes in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Arrival {
    pub(super) at: u64,
    pub(super) key: usize,
    /// Which service time it has.
    pub(super) class: usize,
    /// As part of which group its wait is counted.
    pub(super) group: usize,
}

/// How long a slot is taken by a request, in seconds.
#[derive(Clone, Debug)]
pub(super) enum Service {
    #[cfg_attr(not(test), expect(dead_code, reason = "what queueing theory has closed forms for"))]
    Exponential { mean: f64 },
    #[cfg_attr(not(test), expect(dead_code, reason = "what queueing theory has closed forms for"))]
    Fixed(f64),
    /// `spread` is the deviation of the logarithm.
    LogNormal { median: f64, spread: f64 },
    /// One of these.
    Sample(Vec<f64>),
}

impl Service {
    fn draw(&self, dice: &mut Dice) -> u64 {
        let seconds = match self {
            Service::Exponential { mean } => dice.exponential(*mean),
            Service::Fixed(seconds) => *seconds,
            Service::LogNormal { median, spread } => dice.log_normal(*median, *spread),
            Service::Sample(values) => values[dice.below(values.len())],
        };
        (seconds * SECOND as f64) as u64
    }
}

/// What there is to work with, and what goes wrong.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) machines: usize,
    pub(super) slots_each: usize,
    pub(super) keys: usize,
    pub(super) groups: usize,
    /// By class.
    pub(super) services: Vec<Service>,
    /// Requests that may wait.
    pub(super) capacity: usize,
    /// Seconds.
    pub(super) lease: f64,
    /// Seconds between two looks for leases that ran out.
    pub(super) look: f64,
    /// Seconds between two crashes of one machine; infinite for none.
    pub(super) crash_every: f64,
    /// Seconds until a machine that crashed works again.
    pub(super) restart: f64,
    /// Parts of the renders that fail by the moment, and that lose the browser with all that is open in it.
    pub(super) failing: f64,
    pub(super) losing_browser: f64,
    /// Waits of requests that came before this are not counted.
    pub(super) counted_from: f64,
    /// Seconds that a point of the course stands for.
    pub(super) step: f64,
}

impl World {
    /// One in which nothing goes wrong.
    pub(super) fn quiet(seed: u64, slots: usize, services: Vec<Service>) -> World {
        World {
            seed,
            machines: slots,
            slots_each: 1,
            keys: 1,
            groups: 1,
            services,
            capacity: usize::MAX,
            lease: 30.0,
            look: 2.0,
            crash_every: f64::INFINITY,
            restart: 60.0,
            failing: 0.0,
            losing_browser: 0.0,
            counted_from: 0.0,
            step: 60.0,
        }
    }
}

/// What came of it.
#[derive(Default)]
pub(super) struct Outcome {
    /// From the accept to the first claim, of all and by group.
    pub(super) age: Histogram,
    pub(super) ages: Vec<Histogram>,
    /// From the accept to the end.
    pub(super) whole: Histogram,
    /// Requests accepted, by group.
    pub(super) accepted: Vec<u64>,
    pub(super) refused: u64,
    pub(super) done: u64,
    pub(super) failed: u64,
    /// Renders begun, of which one is needed for each request.
    pub(super) renders: u64,
    /// Renders that a crash ended.
    pub(super) crashed: u64,
    pub(super) crashes: u64,
    /// Time that slots were taken, of the time that they were there.
    pub(super) utilisation: f64,
    /// Step by step: the longest wait of those claimed in it by group in seconds, and how many waited at its end.
    pub(super) course: Vec<(Vec<f64>, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A slot is done with what it was given as its n-th.
    End {
        slot: usize,
        turn: u32,
    },
    Crash {
        machine: usize,
    },
    Back {
        machine: usize,
    },
    /// Somebody looks for leases that ran out.
    Look,
    /// The pause of a request is over.
    Due {
        request: usize,
    },
    /// A step of the course is over.
    Step,
}

#[derive(Clone, Copy)]
struct Request {
    arrival: Arrival,
    failures: u32,
    claimed: bool,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    request: Option<usize>,
    began: u64,
    turn: u32,
    up: bool,
    is_idle: bool,
}

struct Run<'a> {
    world: &'a World,
    dice: Dice,
    now: u64,
    numbers: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    line: Line,
    requests: Vec<Request>,
    free: Vec<usize>,
    slots: Vec<Slot>,
    idle: Vec<usize>,
    /// Leases whose machine is gone: when they run out, and of what.
    orphans: Vec<(u64, usize)>,
    open: u64,
    busy: f64,
    down: f64,
    worst: Vec<f64>,
    outcome: Outcome,
}

/// Works through all arrivals, which come in order of time, until the last of them has ended.
pub(super) fn run(world: &World, arrivals: impl IntoIterator<Item = Arrival>) -> Outcome {
    let slots = world.machines * world.slots_each;
    let mut run = Run {
        world,
        dice: Dice::new(world.seed ^ 0x5eed),
        now: 0,
        numbers: 0,
        events: BinaryHeap::new(),
        line: Line::new(world.keys),
        requests: Vec::new(),
        free: Vec::new(),
        slots: vec![Slot { up: true, ..Slot::default() }; slots],
        idle: Vec::new(),
        orphans: Vec::new(),
        open: 0,
        busy: 0.0,
        down: 0.0,
        worst: vec![0.0; world.groups],
        outcome: Outcome {
            ages: vec![Histogram::default(); world.groups],
            accepted: vec![0; world.groups],
            ..Outcome::default()
        },
    };
    (0..slots).rev().for_each(|slot| run.rest(slot));
    if world.crash_every.is_finite() {
        (0..world.machines).for_each(|machine| run.plan_crash(machine));
    }
    run.at(world.step, Event::Step);
    let mut arrivals = arrivals.into_iter().peekable();
    let mut last = 0;
    loop {
        let next_event = run.events.peek().map(|Reverse((at, ..))| *at);
        match arrivals.peek() {
            Some(arrival) if next_event.is_none_or(|at| arrival.at <= at) => {
                let arrival = *arrival;
                arrivals.next();
                run.now = arrival.at;
                last = arrival.at;
                run.arrive(arrival);
            }
            None if run.open == 0 => break,
            _ => {
                let Some(Reverse((at, _, event))) = run.events.pop() else { break };
                run.now = at;
                run.handle(event);
            }
        }
        run.claim();
    }
    let there = slots as f64 * last.max(1) as f64 - run.down;
    run.outcome.utilisation = run.busy / there;
    run.outcome
}

impl Run<'_> {
    fn at(&mut self, seconds_from_now: f64, event: Event) {
        self.at_time(self.now + (seconds_from_now * SECOND as f64) as u64, event);
    }

    /// Events of one moment happen in the order in which they were planned.
    fn at_time(&mut self, at: u64, event: Event) {
        self.numbers += 1;
        self.events.push(Reverse((at, self.numbers, event)));
    }

    fn arrive(&mut self, arrival: Arrival) {
        if self.line.waiting() >= self.world.capacity {
            self.outcome.refused += 1;
            return;
        }
        self.outcome.accepted[arrival.group] += 1;
        let request = Request { arrival, failures: 0, claimed: false };
        let number = match self.free.pop() {
            Some(number) => {
                self.requests[number] = request;
                number
            }
            None => {
                self.requests.push(request);
                self.requests.len() - 1
            }
        };
        self.open += 1;
        self.line.push(arrival.key, number);
    }

    fn claim(&mut self) {
        while let Some(slot) = self.idle.pop() {
            self.slots[slot].is_idle = false;
            if !self.slots[slot].up {
                continue;
            }
            let Some(number) = self.line.claim() else {
                self.rest(slot);
                return;
            };
            let request = &mut self.requests[number];
            let arrival = request.arrival;
            if !std::mem::replace(&mut request.claimed, true)
                && arrival.at as f64 >= self.world.counted_from * SECOND as f64
            {
                let age = self.now - arrival.at;
                self.outcome.age.add(age);
                self.outcome.ages[arrival.group].add(age);
                self.worst[arrival.group] = self.worst[arrival.group].max(age as f64 / SECOND as f64);
            }
            self.outcome.renders += 1;
            let took = self.world.services[arrival.class].draw(&mut self.dice);
            let slot_now = &mut self.slots[slot];
            slot_now.request = Some(number);
            slot_now.began = self.now;
            slot_now.turn += 1;
            let turn = slot_now.turn;
            self.at_time(self.now + took, Event::End { slot, turn });
        }
    }

    fn rest(&mut self, slot: usize) {
        if self.slots[slot].up && !self.slots[slot].is_idle {
            self.slots[slot].is_idle = true;
            self.idle.push(slot);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::End { slot, turn } if self.slots[slot].turn == turn && self.slots[slot].request.is_some() => {
                if self.dice.happens(self.world.losing_browser) {
                    let machine = slot / self.world.slots_each;
                    self.slots_of(machine).for_each(|slot| self.fail(slot, Fault::Browser));
                } else if self.dice.happens(self.world.failing) {
                    self.fail(slot, Fault::Moment);
                } else if let Some(number) = self.leave(slot) {
                    self.line.end(self.requests[number].arrival.key);
                    self.outcome.done += 1;
                    self.finish(number);
                }
            }
            // Of a render that ended otherwise.
            Event::End { .. } => {}
            Event::Crash { machine } => self.crash(machine),
            Event::Back { machine } => {
                for slot in self.slots_of(machine) {
                    self.slots[slot].up = true;
                    self.rest(slot);
                }
                self.plan_crash(machine);
            }
            Event::Look => self.look(),
            Event::Due { request } => self.line.push(self.requests[request].arrival.key, request),
            Event::Step => {
                let worst = std::mem::replace(&mut self.worst, vec![0.0; self.world.groups]);
                self.outcome.course.push((worst, self.line.waiting()));
                self.at(self.world.step, Event::Step);
            }
        }
    }

    fn slots_of(&self, machine: usize) -> std::ops::Range<usize> {
        machine * self.world.slots_each..(machine + 1) * self.world.slots_each
    }

    /// A slot is free again. Gives what it had.
    fn leave(&mut self, slot: usize) -> Option<usize> {
        let number = self.slots[slot].request.take()?;
        self.busy += (self.now - self.slots[slot].began) as f64;
        self.rest(slot);
        Some(number)
    }

    fn fail(&mut self, slot: usize, fault: Fault) {
        let Some(number) = self.leave(slot) else { return };
        let request = &mut self.requests[number];
        let pause = retry::next_render(fault, request.failures, 0);
        request.failures += 1;
        self.line.end(request.arrival.key);
        match pause {
            Some(pause) => self.at(pause.as_secs_f64(), Event::Due { request: number }),
            None => {
                self.outcome.failed += 1;
                self.finish(number);
            }
        }
    }

    fn finish(&mut self, number: usize) {
        let arrival = self.requests[number].arrival;
        if arrival.at as f64 >= self.world.counted_from * SECOND as f64 {
            self.outcome.whole.add(self.now - arrival.at);
        }
        self.free.push(number);
        self.open -= 1;
    }

    fn plan_crash(&mut self, machine: usize) {
        let after = self.dice.exponential(self.world.crash_every);
        self.at(after, Event::Crash { machine });
    }

    /// The leases of a machine that is gone run on, from the last time that they were prolonged.
    fn crash(&mut self, machine: usize) {
        self.outcome.crashes += 1;
        let lease = (self.world.lease * SECOND as f64) as u64;
        let beat = lease / 3;
        for slot in self.slots_of(machine) {
            let began = self.slots[slot].began;
            if let Some(number) = self.leave(slot) {
                self.outcome.crashed += 1;
                let until = began + (self.now - began) / beat * beat + lease;
                self.orphans.push((until, number));
                let look = (self.world.look * SECOND as f64) as u64;
                self.at_time(until.div_ceil(look) * look, Event::Look);
            }
            self.slots[slot].up = false;
        }
        self.down += self.world.restart * SECOND as f64 * self.world.slots_each as f64;
        self.at(self.world.restart, Event::Back { machine });
    }

    /// What ran out is returned, and charged to nobody.
    fn look(&mut self) {
        let now = self.now;
        let (over, left): (Vec<_>, Vec<_>) = self.orphans.iter().partition(|(until, _)| *until <= now);
        self.orphans = left;
        for (_, number) in over {
            self.line.give_back(self.requests[number].arrival.key, number);
        }
    }
}
