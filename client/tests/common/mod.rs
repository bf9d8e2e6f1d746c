//! A whole server in the test's process: control, router, real sockets on loopback.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::time::Duration;

use duocast::config::Config;
use duocast::serve::{self, Running};
use duocast_client::{Channel, ChannelConfig, Client, ClientConfig, DoorChoice, Handle, Roots, Token};
use duocast_control::auth::{Scope, dev_account_id};
use duocast_wire::v1;
use duocast_wire::v1::directory_service_client::DirectoryServiceClient;
use tonic::Request;
use tonic::metadata::MetadataValue;

/// Long enough for any machine; nothing waits for it to pass.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) running: Running,
    _dir: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With other settings than the usual ones. Alice, Bob, Carol and Dave may call each other.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: dir.path().to_owned(), http: Vec::new(), ..Config::default() };
        config.listen = vec!["127.0.0.1:0".parse().unwrap()];
        config.media.listen = vec!["127.0.0.1".parse().unwrap()];
        config.media.announce = config.media.listen.clone();
        config.media.port = 0;
        config.media.workers = 1;
        change(&mut config);
        let running = serve::start(&config, true).await.unwrap();
        let server = Self { running, _dir: dir };
        server.enable(&["alice", "bob", "carol", "dave"]).await;
        server
    }

    /// Makes accounts that may call each other, as a platform's server does.
    async fn enable(&self, handles: &[&str]) {
        let jwt = self.running.token("platform", Scope::Platform).unwrap();
        let bearer: MetadataValue<_> = format!("Bearer {jwt}").parse().unwrap();
        let roots = Roots::Pem(self.running.ca_pem.clone());
        let channel = Channel::connect(ChannelConfig::new(&self.running.url, roots)).await.unwrap();
        let mut directory = DirectoryServiceClient::with_interceptor(channel, |mut request: Request<()>| {
            request.metadata_mut().insert("authorization", bearer.clone());
            Ok(request)
        });
        let id = |handle: &str| dev_account_id(handle).expose().to_owned();
        let account = |handle: &&str| v1::Account {
            account_id: id(handle),
            handle: (*handle).to_owned(),
            display_name: (*handle).to_owned(),
            calling_enabled: Some(true),
            ..v1::Account::default()
        };
        let accounts = handles.iter().map(account).collect();
        directory.upsert_accounts(v1::UpsertAccountsRequest { accounts }).await.unwrap();
        let pairs = handles.iter().flat_map(|a| handles.iter().map(move |b| (a, b))).filter(|(a, b)| a != b);
        let follow = |(a, b): (&&str, &&str)| v1::Follow {
            follower_account_id: id(a),
            followee_account_id: id(b),
            following: true,
        };
        let follows = pairs.map(follow).collect();
        directory.set_follows(v1::SetFollowsRequest { follows }).await.unwrap();
    }

    pub(crate) fn config(&self, handle: &str) -> ClientConfig {
        let token = Token::new(&self.running.token(handle, Scope::Client).unwrap()).unwrap();
        let mut config = ClientConfig::new(&self.running.url, token);
        config.roots = Roots::Pem(self.running.ca_pem.clone());
        config
    }

    pub(crate) async fn client(&self, handle: &str, door: DoorChoice) -> Client {
        Client::connect(ClientConfig { door, ..self.config(handle) }).await.unwrap()
    }
}

pub(crate) fn handle(name: &str) -> Handle {
    name.parse().unwrap()
}
