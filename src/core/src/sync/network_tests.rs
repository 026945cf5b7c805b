//! Both ends over a network that loses, repeats and reorders, with leaders that come and go.

use proptest::prelude::*;

use super::*;
use crate::time::Time;

const STEP_S: f64 = 0.25;

#[derive(Clone, Debug)]
enum Move {
    /// Time passes.
    Pass(u8),
    /// The lease goes to another controller.
    Elect(usize),
    /// The link between the gate and a controller breaks or mends.
    Cut(usize, bool),
    /// The newest message under way from a controller is lost.
    Lose(usize),
    /// A message that was sent to the gate long ago comes again.
    Repeat(usize),
    /// The present leader has another plan.
    Plan(u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (1..40_u8).prop_map(Move::Pass),
        1 => (0..3_usize).prop_map(Move::Elect),
        2 => (0..3_usize, any::<bool>()).prop_map(|(link, up)| Move::Cut(link, up)),
        1 => (0..3_usize).prop_map(Move::Lose),
        3 => (0..1_000_usize).prop_map(Move::Repeat),
        2 => (0..20_u8).prop_map(Move::Plan),
    ];
    prop::collection::vec(one, 1..80)
}

struct World {
    now: Time,
    gate: GateEnd,
    controllers: Vec<ControllerEnd>,
    up: [bool; 3],
    links: [LinkId; 3],
    next_link: u64,
    term: u64,
    leader: Option<usize>,
    /// Every directive ever sent to the gate.
    sent: Vec<ToGate>,
    lose: [bool; 3],
    guided: Guided,
    /// When a directive that counts was last heard.
    heard_at: Option<Time>,
    highest: (Term, u64),
    reports: u64,
}

impl World {
    fn new() -> Self {
        let gate = GateName { name: "g".into(), incarnation: 1 };
        let controller = |index: usize| ControllerEnd::new(format!("c-{index}"), "chat".into());
        Self {
            now: Time::ZERO,
            gate: GateEnd::new(gate, "chat".into()),
            controllers: (0..3).map(controller).collect(),
            up: [false; 3],
            links: [LinkId(0); 3],
            next_link: 1,
            term: 0,
            leader: None,
            sent: Vec::new(),
            lose: [false; 3],
            guided: Guided::default(),
            heard_at: None,
            highest: (Term(0), 0),
            reports: 0,
        }
    }

    fn gate_step(&mut self, event: GateSyncEvent<'_>) {
        let mut effects = Vec::new();
        self.gate.step(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                GateSyncEffect::Guide(guided) => self.guided = guided,
                GateSyncEffect::Ack { link, ack } => {
                    if let Some(at) = self.at(link) {
                        self.controller_hears(at, &FromGate::Ack(ack));
                    }
                }
                GateSyncEffect::Report { sequence, links } => {
                    let report = FromGate::Report(Report {
                        gate: self.gate.gate().clone(),
                        sequence,
                        fleet: "chat".into(),
                        active: true,
                        tiers: Vec::new(),
                        endpoints: Vec::new(),
                    });
                    let at: Vec<usize> = links.iter().filter_map(|link| self.at(*link)).collect();
                    for at in at {
                        self.reports += 1;
                        self.controller_hears(at, &report);
                    }
                }
                GateSyncEffect::StandBy { .. } => panic!("there is one gate"),
            }
        }
    }

    fn at(&self, link: LinkId) -> Option<usize> {
        (0..3).find(|at| self.up[*at] && self.links[*at] == link)
    }

    fn controller_hears(&mut self, at: usize, message: &FromGate) {
        let link = self.links[at];
        self.controller_step(at, ControllerSyncEvent::Heard { link, message });
    }

    fn controller_step(&mut self, at: usize, event: ControllerSyncEvent<'_>) {
        let mut effects = Vec::new();
        self.controllers[at].step(self.now, event, &mut effects);
        for effect in effects {
            let ControllerSyncEffect::Send { links, message } = effect else { continue };
            for link in links {
                self.sent.push(message.clone());
                if self.at(link) == Some(at) && !std::mem::take(&mut self.lose[at]) {
                    self.deliver(link, &message);
                }
            }
        }
    }

    fn deliver(&mut self, link: LinkId, message: &ToGate) {
        let ToGate::Directive(directive) = message else { return };
        let mark = (directive.mark.term, directive.mark.sequence);
        if mark > self.highest {
            (self.highest, self.heard_at) = (mark, Some(self.now));
        }
        self.gate_step(GateSyncEvent::Heard { link, message });
    }

    fn connect(&mut self, at: usize, up: bool) {
        if self.up[at] == up {
            return;
        }
        self.up[at] = up;
        let link = self.links[at];
        if up {
            self.links[at] = LinkId(self.next_link);
            self.next_link += 1;
            let link = self.links[at];
            self.controller_step(at, ControllerSyncEvent::Connected { link });
            self.gate_step(GateSyncEvent::Connected { link });
        } else {
            self.controller_step(at, ControllerSyncEvent::Lost { link });
            self.gate_step(GateSyncEvent::Lost { link });
        }
    }

    fn elect(&mut self, at: usize) {
        // The old leader does not hear of it.
        self.term += 1;
        self.leader = Some(at);
        let term = Term(self.term);
        self.controller_step(at, ControllerSyncEvent::Lease(Some(term)));
    }

    fn pass(&mut self) {
        self.now += Span::from_seconds(STEP_S);
        self.gate_step(GateSyncEvent::Due);
        (0..3).for_each(|at| self.controller_step(at, ControllerSyncEvent::Due));
        self.check();
    }

    fn play(&mut self, step: &Move) {
        match *step {
            Move::Pass(steps) => (0..steps).for_each(|_| self.pass()),
            Move::Elect(at) => self.elect(at),
            Move::Cut(at, up) => self.connect(at, up),
            Move::Lose(at) => self.lose[at] = true,
            Move::Repeat(number) => {
                if let Some(message) = self.sent.get(number % self.sent.len().max(1)).cloned() {
                    let link = self.links[number % 3];
                    self.gate_step(GateSyncEvent::Heard { link, message: &message });
                }
            }
            Move::Plan(replicas) => {
                let Some(leader) = self.leader else { return };
                let ready_at = self.now + Span::from_secs(500);
                let coming = Coming { variant: "v".into(), ready_at };
                let coming = vec![coming; usize::from(replicas)];
                let plan = Plan { coming, ..Plan::default() };
                self.controller_step(leader, ControllerSyncEvent::Planned(&plan));
            }
        }
        self.check();
    }

    fn check(&self) {
        // It follows the highest mark that it was ever told, whatever else came.
        let follows = self.gate.follows().map(|mark| (mark.term, mark.sequence));
        assert!(follows.unwrap_or_default() >= self.highest);
        // Late and repeated messages never make an outlook outlive its leader.
        let silent = self.heard_at.is_none_or(|at| self.now.since(at) > OUTLOOK_KEPT);
        if silent && self.sent.iter().all(|message| self.known(message)) {
            assert!(self.guided.coming.is_empty(), "{:?} at {}", self.guided, self.now);
        }
    }

    /// Whether a message is none that a repetition brought for the first time.
    fn known(&self, message: &ToGate) -> bool {
        let ToGate::Directive(directive) = message else { return true };
        (directive.mark.term, directive.mark.sequence) <= self.highest
    }
}

proptest! {
    #[test]
    fn whatever_the_network_does_the_gate_follows_one_leader_and_promises_no_more(
        moves in moves(),
    ) {
        let mut world = World::new();
        for step in &moves {
            world.play(step);
        }
        // All is well again: within a second the gate follows the present leader's plan.
        world.elect(1);
        (0..3).for_each(|at| world.connect(at, true));
        world.lose = [false; 3];
        world.play(&Move::Plan(3));
        (0..8).for_each(|_| world.pass());
        let term = Term(world.term);
        prop_assert_eq!(world.gate.standing(world.now), Standing::Led { term });
        prop_assert_eq!(world.guided.coming.len(), 3);
        prop_assert_eq!(world.controllers[0].term(), None);
        prop_assert!(world.controllers.iter().all(|end| end.active(world.now).is_some()));
        prop_assert!(world.reports > 0);
    }
}
