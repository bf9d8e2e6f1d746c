//! The ClientHello race: a stranger who knows where a call's media goes, and its SSRCs, speaks DTLS before its client does.

mod world;

use std::net::SocketAddr;
use std::time::Duration;

use duocast_router_core::{DropReason, LegState, Link};
use world::{Audio, Rng, World, call, leg, path_of, standard_client};

/// How often the race is run. One that is lost shows its seed.
const SESSIONS: u64 = 1_000;

fn is_dtls(datagram: &[u8]) -> bool {
    (20..64).contains(&datagram[0])
}

/// Everything that a client with a certificate of its own sends in a whole handshake, in order.
fn flights(seed: u64) -> Vec<Vec<u8>> {
    let mut world = World::new(seed);
    world.record_uplink = true;
    world.add_client(standard_client());
    world.plan(&[0], &[]);
    world.offer(0, &[Audio]).unwrap();
    world.run_until("the stranger's own leg connects", |w| w.clients[0].connected);
    world.uplink.into_iter().filter(|datagram| is_dtls(datagram)).collect()
}

/// A stranger and what it has to throw.
struct Stranger {
    rng: Rng,
    flights: Vec<Vec<u8>>,
    thrown: u64,
}

impl Stranger {
    /// One throw, from another address than the client's: the ClientHello, any other part of a handshake, or RTP of the
    /// client's source.
    fn throw(&mut self, world: &mut World, ssrc: u32) {
        let client = world.clients[0].address;
        let port = (self.rng.next() % 60_000) as u16 + 1;
        let from = match self.rng.next() % 3 {
            0 => SocketAddr::new(client.ip(), port.max(client.port() + 1)),
            1 => SocketAddr::from(([198, 51, 100, self.rng.next() as u8], client.port())),
            _ => SocketAddr::from(([192, 0, 2, self.rng.next() as u8], port)),
        };
        let contents = match self.rng.next() % 4 {
            0 | 1 => self.flights[0].clone(),
            2 => self.flights[self.rng.next() as usize % self.flights.len()].clone(),
            _ => [&[0x80, 111, 0, 1, 0, 0, 0, 0][..], &ssrc.to_be_bytes(), &[9; 60]].concat(),
        };
        let over_tcp = self.rng.chance(20);
        let link = if over_tcp { Link::Tcp(7000 + self.thrown) } else { Link::Udp(0) };
        world.inject_on(path_of(link, from), &contents);
        self.thrown += 1;
    }
}

/// True if the leg connects with its client, in spite of all.
fn client_wins(seed: u64, flights: &[Vec<u8>]) -> bool {
    let mut world = World::new(seed);
    world.add_client(standard_client());
    world.plan(&[0], &[]);
    world.offer(0, &[Audio]).unwrap();
    let ssrc = world.clients[0].sending_ssrc(Audio);
    let mut stranger = Stranger { rng: Rng(!seed), flights: flights.to_vec(), thrown: 0 };
    // The first ones are there before the client has sent anything.
    let early = 1 + stranger.rng.next() % 20;
    (0..early).for_each(|_| stranger.throw(&mut world, ssrc));
    let give_up = world.now + Duration::from_secs(5);
    while !world.clients[0].connected && world.now < give_up {
        world.run_for(Duration::from_millis(1));
        (0..stranger.rng.next() % 4).for_each(|_| stranger.throw(&mut world, ssrc));
    }
    world.talk(3);
    let client = world.clients[0].address;
    assert!(
        world.destinations.iter().all(|to| *to == client),
        "seed {seed}: the stranger was sent something"
    );
    let counters = *world.shard.counters();
    assert_eq!(counters.panics, 0, "seed {seed}");
    assert_eq!(counters.dropped_for(DropReason::UnknownSource), stranger.thrown, "seed {seed}");
    let heard = world.shard.leg_counters(call(), leg(0)).map_or(0, |leg| leg.media_received);
    world.clients[0].connected && heard >= 2 && world.events.contains(&(leg(0), LegState::Connected))
}

#[test]
fn of_a_thousand_races_the_client_loses_none() {
    let flights = flights(1);
    assert!(flights.len() >= 2, "a hello and what follows it");
    let seeds: Vec<u64> = (0..SESSIONS).collect();
    let lost: Vec<u64> = std::thread::scope(|scope| {
        let halves = seeds.chunks(SESSIONS as usize / 2).map(|half| {
            let flights = &flights;
            scope.spawn(move || {
                half.iter().copied().filter(|seed| !client_wins(*seed, flights)).collect::<Vec<_>>()
            })
        });
        halves.collect::<Vec<_>>().into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    assert!(lost.is_empty(), "{} of {SESSIONS} lost: seeds {lost:?}", lost.len());
}
