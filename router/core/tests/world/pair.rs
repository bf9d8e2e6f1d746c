//! A second shard of the same node: the world's is worker 0, this one worker 1, and what crosses between them goes through a pipe.

use std::time::Duration;

use duocast_router_core::{Crossing, Place, Shard, ShardConfig, Workers};

use super::{ROUTER, Rng, World};

const WORKERS: Workers = Workers(2);

/// See the module.
pub struct Pair {
    pub shard: Shard,
    pub pipe: Pipe,
}

/// What joins the two.
#[derive(Default)]
pub struct Pipe {
    /// Percent of the packets that are lost on the way across.
    pub loss: u64,
    /// The pipe takes nothing: packets are lost, and notes wait.
    pub is_full: bool,
    /// Packets and notes that were put into the pipe, by worker that sent them.
    pub packets: [usize; 2],
    pub notes: [usize; 2],
    /// What each worker has sent, with its contents.
    sent: [Vec<(Crossing, Vec<u8>)>; 2],
}

fn config() -> ShardConfig {
    ShardConfig { announced: vec![ROUTER.into()], announced_tcp: vec![ROUTER.into()], max_legs: 100 }
}

impl Pipe {
    fn collect(&mut self, from: usize, shard: &mut Shard, rng: &mut Rng) {
        while !self.is_full
            && let Some(note) = shard.poll_note(1 - from)
        {
            self.notes[from] += 1;
            self.sent[from].push((note, Vec::new()));
        }
        while let Some(passing) = shard.poll_passing() {
            assert_eq!(passing.to, 1 - from, "there is nobody else");
            if !self.is_full && !rng.chance(self.loss) {
                self.packets[from] += 1;
                self.sent[from].push((passing.crossing, passing.contents.to_vec()));
            }
        }
    }
}

impl World {
    /// A node with two workers, each with a shard.
    pub fn with_two_shards(seed: u64) -> Self {
        let mut world = Self::new(seed);
        world.shard = Shard::at(Place { worker: 0, of: WORKERS }, config());
        let shard = Shard::at(Place { worker: 1, of: WORKERS }, config());
        world.pair = Some(Pair { shard, pipe: Pipe::default() });
        world
    }

    pub fn pipe(&mut self) -> &mut Pipe {
        &mut self.pair.as_mut().expect("a world with two shards").pipe
    }

    /// All shards, by worker.
    pub fn shards(&mut self) -> impl Iterator<Item = &mut Shard> {
        std::iter::once(&mut self.shard).chain(self.pair.as_mut().map(|pair| &mut pair.shard))
    }

    /// The shard of a worker.
    pub fn shard_at(&mut self, worker: usize) -> &mut Shard {
        self.shards().nth(worker).expect("one of its workers")
    }

    /// Packets that crossed, in either direction, while the clients talk.
    pub fn crossed_while_talking(&mut self, rounds: usize) -> usize {
        let before: usize = self.pipe().packets.iter().sum();
        self.talk(rounds);
        self.run_for(Duration::from_millis(50));
        self.pipe().packets.iter().sum::<usize>() - before
    }

    /// What is in the pipe comes out at its other end.
    pub(super) fn cross(&mut self) {
        let Some(pair) = &mut self.pair else { return };
        let [from_here, from_there] = std::mem::take(&mut pair.pipe.sent);
        for (from, shard, sent) in [(0, &mut pair.shard, from_here), (1, &mut self.shard, from_there)] {
            if !sent.is_empty() {
                // As a ring gives what lies across its end.
                let batch = sent.iter().map(|(crossing, contents)| {
                    let (first, second) = contents.split_at(contents.len() / 2);
                    (crossing, [first, second])
                });
                shard.handle_crossings(self.now, from, batch);
            }
        }
    }

    /// What the shards have for each other goes into the pipe.
    pub(super) fn collect_crossings(&mut self) {
        let Some(Pair { shard, pipe }) = &mut self.pair else { return };
        pipe.collect(0, &mut self.shard, &mut self.rng);
        pipe.collect(1, shard, &mut self.rng);
    }
}
