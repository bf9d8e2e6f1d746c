//! coturn as a TURN relay: both parties of a call hold an allocation and send to each other's relayed address, so that
//! neither learns the other's. It passes packets without crypto of its own.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;

use super::generator::{End, Link};
use super::process::{self, Cost, Process};
use super::stun::Credential;
use super::turn::{Allocation, Channel};
use super::wire::Framed;
use super::{Peer, PeersError, Setup};

/// Debian's package and its program.
pub(super) const PACKAGE: &str = "coturn";
pub(super) const PROGRAM: &str = "turnserver";

const USER: &str = "duocast";
const REALM: &str = "peers.test";

/// A relay, ready for calls.
pub(super) struct Coturn {
    process: Process,
    server: SocketAddr,
    credential: Credential,
}

impl Coturn {
    pub(super) async fn start(setup: &Setup) -> Result<Self, PeersError> {
        let server = free_port().map_err(PeersError::Socket)?;
        let credential = Credential { user: USER.into(), realm: REALM.into(), key: rand::random() };
        let folder = process::folder()?;
        let config = folder.path().join("turnserver.conf");
        std::fs::write(&config, config_file(server, &credential, folder.path()))
            .map_err(PeersError::Folder)?;
        let args = ["-c".into(), config.display().to_string()];
        let mut process = Process::start(PACKAGE, Path::new(PROGRAM), &args, setup.server_core, folder)?;
        // Ready when it grants a relay.
        let probe = credential.clone();
        let is_ready = async |_: &str| {
            let socket = UdpSocket::bind((server.ip(), 0)).ok()?;
            Allocation::new(socket, server, &probe).ok().map(|_| ())
        };
        process.ready(is_ready).await?;
        Ok(Self { process, server, credential })
    }
}

impl Peer for Coturn {
    async fn connect(&mut self, _call: usize, generator: &Link) -> Result<(), PeersError> {
        let refused = |error| PeersError::Call { name: PACKAGE, why: format!("{error}") };
        let local = SocketAddr::new(self.server.ip(), 0);
        let spots = [generator.reserve(local).await?, generator.reserve(local).await?];
        let mut parties = Vec::new();
        for spot in &spots {
            let socket = generator.lend(spot).await?;
            parties.push(Allocation::new(socket, self.server, &self.credential).map_err(refused)?);
        }
        parties[0].bind_channel(parties[1].relayed).map_err(refused)?;
        parties[1].bind_channel(parties[0].relayed).map_err(refused)?;
        // Their sockets close: from now on what comes is the generator's.
        drop(parties);
        for spot in spots {
            let wire = Framed::new(Channel, self.server, rand::random::<u32>() >> 1);
            generator.add(End { wire: Box::new(wire), spot, sends: true });
        }
        Ok(())
    }

    fn cost(&self) -> Result<Cost, PeersError> {
        self.process.cost()
    }
}

/// A loopback port that nobody uses at the moment.
fn free_port() -> std::io::Result<SocketAddr> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// One relay thread, UDP only, one user whose key is given as such. Loopback peers, which are forbidden by default, want a
/// password for the command line interface even where that is off.
fn config_file(server: SocketAddr, credential: &Credential, folder: &Path) -> String {
    let key: String = credential.key.iter().map(|byte| format!("{byte:02x}")).collect();
    let (ip, port, folder) = (server.ip(), server.port(), folder.display());
    format!(
        "listening-ip={ip}\nlistening-port={port}\nrelay-ip={ip}\nrelay-threads=1\n\
         lt-cred-mech\nrealm={realm}\nuser={user}:0x{key}\nuserdb={folder}/users.db\n\
         no-tcp\nno-tls\nno-dtls\nno-tcp-relay\nno-multicast-peers\nallow-loopback-peers\n\
         no-cli\ncli-password={key}\nlog-file=stdout\nsimple-log\npidfile={folder}/pid\n",
        realm = credential.realm,
        user = credential.user,
    )
}
