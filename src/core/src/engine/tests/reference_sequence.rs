//! One request in the reference engine.

use crate::engine::Work;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Loading,
    Running,
    Leased,
    Gone,
}

#[derive(Clone, Debug)]
pub(super) struct Sequence {
    pub(super) work: Work,
    pub(super) output: u32,
    pub(super) state: State,
    pub(super) aborted: bool,
    pub(super) load_started: bool,
    pub(super) kv_here: bool,
    pub(super) queried: bool,
    pub(super) generated: u32,
    pub(super) computed: u32,
    pub(super) cached: u32,
    /// Blocks in order; the first `full` are registered.
    pub(super) blocks: Vec<usize>,
    pub(super) full: usize,
    pub(super) arrival: u64,
    pub(super) first_scheduled: Option<u64>,
    pub(super) first_token: u64,
    pub(super) last_token: u64,
}

impl Sequence {
    pub(super) fn new(at: u64, work: Work, output: u32) -> Self {
        Self {
            work,
            output,
            state: State::Waiting,
            aborted: false,
            load_started: false,
            kv_here: false,
            queried: false,
            generated: 0,
            computed: 0,
            cached: 0,
            blocks: Vec::new(),
            full: 0,
            arrival: at,
            first_scheduled: None,
            first_token: 0,
            last_token: 0,
        }
    }

    pub(super) fn tokens(&self) -> u32 {
        self.work.prompt_tokens + self.generated
    }
}
