//! `duocast ctl` against a running server: what it says is what is so.

mod support;

use std::process::{Output, Stdio};
use std::time::Duration;

use duocast_control::auth::{DevIssuer, Scope, dev_account_id};
use serde_json::Value;
use support::duocast;
use tempfile::TempDir;

/// A control plane of its own, ended with the test.
struct Server {
    server: support::Server,
    dir: TempDir,
}

impl Server {
    fn start() -> Self {
        Self::start_in(TempDir::new().unwrap(), "")
    }

    fn start_in(dir: TempDir, config: &str) -> Self {
        let file = dir.path().join("duocast.toml");
        std::fs::write(&file, config).unwrap();
        let server = support::Server::start(
            duocast(dir.path())
                .args(["control", "--json", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"])
                .arg(dir.path())
                .arg("--config")
                .arg(file)
                .stderr(Stdio::null()),
        );
        Self { server, dir }
    }

    fn run(&self, words: &str, json: bool) -> Output {
        let mut command = duocast(self.dir.path());
        command
            .arg("ctl")
            .args(words.split(' '))
            .args(["--url", self.server.url(), "--data-dir"])
            .arg(self.dir.path());
        if json {
            command.arg("--json");
        }
        command.output().unwrap()
    }

    /// What a command prints as JSON.
    fn ctl(&self, words: &str) -> Value {
        let output = self.run(words, true);
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}: {errors}");
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{words}: not JSON: {text:?}"))
    }

    /// What a command prints for people.
    fn says(&self, words: &str) -> String {
        let output = self.run(words, false);
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command says when it fails.
    fn fails(&self, words: &str) -> String {
        let output = self.run(words, false);
        assert!(!output.status.success(), "{words} must fail");
        String::from_utf8(output.stderr).unwrap()
    }

    /// "May `from` call `to`?": what the caller hears, and what the callee sees.
    fn answer(&self, from: &str, to: &str) -> [(String, String); 2] {
        let all = self.ctl(&format!("can-call {from} {to}"));
        ["caller", "callee"].map(|who| {
            let told = &all["directions"][0][who];
            (told["outcome"].as_str().unwrap().to_owned(), told["reason"].as_str().unwrap().to_owned())
        })
    }
}

fn told(outcome: &str, reason: &str) -> (String, String) {
    (outcome.into(), reason.into())
}

#[test]
fn who_may_call_whom_from_the_command_line() {
    let server = Server::start();
    for handle in ["alice", "bob"] {
        server.ctl(&format!("account {handle} --calling off"));
    }
    assert!(server.says("settings show --as alice").contains("enhanced_call_privacy  on"));
    assert_eq!(server.ctl("settings show --as alice")["settings"]["calling"], false);
    let off = [told("deny", "CALLER_NOT_ENABLED"), told("deny", "CALLEE_NOT_ENABLED")];
    assert_eq!(server.answer("alice", "bob"), off);
    for handle in ["alice", "bob"] {
        server.ctl(&format!("settings set --as {handle} --calling on"));
    }
    assert_eq!(server.answer("alice", "bob")[0], told("request", "REQUEST_NEEDED"));

    // A request, a grant, and back.
    assert!(server.says("requests send bob --as alice").contains("nothing rings"));
    assert_eq!(server.answer("alice", "bob")[0], told("request", "REQUEST_PENDING"));
    assert!(server.says("requests list --as bob").contains("waits for you"));
    assert!(server.says("requests accept alice --as bob --days 7").contains("7 days"));
    assert_eq!(server.answer("alice", "bob"), [told("allow", "GRANT"), told("allow", "GRANT")]);
    assert_eq!(server.ctl("requests list --as alice")["outgoing"][0]["state"], "accepted");
    assert_eq!(server.ctl("grants list --as bob")["grants"][0]["handle"], "alice");
    assert_eq!(server.ctl("callable alice")["people"][0]["handle"], "bob");
    assert_eq!(server.ctl("callers bob")["people"][0]["handle"], "alice");
    server.ctl("grants revoke alice --as bob");
    assert!(server.says("callable alice").contains("requests send"), "the way on is named");

    // A preview changes nothing; the change does what it said.
    server.ctl("follow alice bob --mutual");
    let change = "--audience verified,address_book";
    let preview = server.ctl(&format!("settings preview --as bob {change}"));
    assert_eq!(preview["changes"][0]["before"]["outcome"], "allow");
    assert_eq!(preview["changes"][0]["after"]["outcome"], "request");
    assert!(server.says(&format!("settings preview --as bob {change}")).contains("Nothing was changed"));
    assert_eq!(server.answer("alice", "bob")[0].0, "allow");
    server.ctl(&format!("settings set --as bob {change}"));
    assert_eq!(server.answer("alice", "bob")[0].0, "request");

    // Nor is it silent about the address where nobody's calls change.
    let change = "--enhanced-call-privacy off --direct mutuals";
    let preview = server.ctl(&format!("settings preview --as bob {change}"));
    let one = &preview["changes"][0];
    assert_eq!((&one["handle"], &preview["changed"]), (&"alice".into(), &1.into()));
    assert_eq!(
        (&one["before"]["own_direct"], &one["after"]["own_direct"]),
        (&"never".into(), &"given".into())
    );
    let said = server.says(&format!("settings preview --as bob {change}"));
    assert!(said.contains("YOUR ADDRESS") && said.contains("hidden → seen"), "{said}");

    // What the platform says.
    server.ctl("verified alice on");
    assert_eq!(server.answer("alice", "bob"), [told("allow", "CALLEE_ALLOWS"), told("allow", "VERIFIED")]);
    server.ctl("verified alice off");
    server.ctl("reachable alice +44(20)7946-0958");
    server.ctl("address-book bob --add +442079460958");
    assert_eq!(server.answer("alice", "bob")[1], told("allow", "ADDRESS_BOOK"), "however it is written");
    server.ctl("settings set --as bob --audience dm_accepted");
    server.ctl("dm alice bob");
    assert_eq!(server.answer("alice", "bob")[0].0, "request");
    server.ctl("dm alice bob --accepted");
    assert_eq!(server.answer("alice", "bob")[0], told("allow", "DM_ACCEPTED"));

    // A block beats it all, and is not told.
    server.ctl("blocks add alice --as bob");
    let blocked = [told("deny", "CALLEE_NOT_REACHABLE"), told("deny", "BLOCKED_BY_CALLEE")];
    assert_eq!(server.answer("alice", "bob"), blocked);
    assert_eq!(server.ctl("blocks list --as bob")["blocks"][0]["handle"], "alice");
    assert!(server.fails("grants add alice --as bob").contains("unblock them first"));
    server.ctl("blocks remove alice --as bob");
    assert_eq!(server.answer("alice", "bob")[0].0, "allow");

    server.ctl("settings set --as bob --audience nobody --strangers deny --direct ask");
    let settings = &server.ctl("settings show --as bob")["settings"];
    assert_eq!((settings["audience"].to_string(), &settings["direct"]), ("[]".into(), &"ask".into()));
    assert!(server.fails("can-call alice nobody_there").contains("check its spelling"));
    assert!(server.fails("settings set --as bob").contains("--calling"), "it says what could be changed");
}

#[test]
fn a_link_leads_to_the_configured_page() {
    let dir = TempDir::new().unwrap();
    // A server was there, and made its key.
    DevIssuer::load_or_create(dir.path()).unwrap();
    let file = dir.path().join("mine.toml");
    std::fs::write(&file, "http = ['127.0.0.1:9191']").unwrap();
    let link = |http: Option<&str>, words: &[&str]| {
        let mut command = duocast(dir.path());
        command.args(["ctl", "token", "alice", "--link", "--data-dir"]).arg(dir.path()).args(words);
        command.envs(http.map(|http| ("DUOCAST_HTTP", http)));
        let output = command.output().unwrap();
        String::from_utf8(if output.status.success() { output.stdout } else { output.stderr }).unwrap()
    };
    let of_file = ["--config", file.to_str().unwrap()];
    assert!(link(None, &[]).starts_with("http://localhost:8080/#token=ey"));
    assert!(link(None, &of_file).starts_with("http://localhost:9191/#token=ey"));
    assert!(link(Some(r#"["127.0.0.1:9292"]"#), &of_file).starts_with("http://localhost:9292/#token=ey"));
    assert!(link(Some(r#"["127.0.0.1:0"]"#), &[]).contains("port 0"));
    assert!(link(None, &["--config", "/nowhere"]).contains("no configuration file"));
}

#[test]
fn where_the_platform_signs_tokens_commands_take_one_and_make_no_key() {
    // Another key, in the place of the platform's.
    let platform = TempDir::new().unwrap();
    let issuer = DevIssuer::load_or_create(platform.path()).unwrap();
    let public_key = platform.path().join("platform.pem");
    std::fs::write(&public_key, issuer.config().public_key_pem).unwrap();
    let [alice, bob] = ["alice", "bob"].map(|handle| {
        let file = platform.path().join(handle);
        let id = dev_account_id(handle);
        let token = issuer.mint(id.expose(), handle, handle, Scope::Client, Duration::from_secs(600));
        std::fs::write(&file, format!("{}\n", token.unwrap())).unwrap();
        file.to_str().unwrap().to_owned()
    });
    let config =
        format!("auth.issuers = [{{ iss = {:?}, public_key = {public_key:?} }}]", issuer.config().iss);
    let server = Server::start_in(TempDir::new().unwrap(), &config);

    for token in [&alice, &bob] {
        server.ctl(&format!("settings set --token {token} --calling on --audience everyone"));
    }
    assert!(server.says(&format!("settings show --token {alice}")).contains("everyone"));
    // One token tells what one person is told.
    let all = server.ctl(&format!("can-call alice bob --token {alice}"));
    let told = |direction: usize, who: &str| all["directions"][direction][who]["outcome"].clone();
    assert_eq!((told(0, "caller"), told(1, "callee")), ("allow".into(), "allow".into()));
    assert!(told(0, "callee").is_null() && told(1, "caller").is_null());
    assert!(server.says(&format!("can-call alice bob --token {alice}")).contains("alice hears"));
    assert!(server.says(&format!("grants add bob --token {alice}")).contains("bob may call this account"));
    assert_eq!(server.ctl(&format!("callers --token {alice}"))["people"][0]["handle"], "bob");
    assert_eq!(server.ctl(&format!("calls --token {alice}"))["calls"], Value::Array(Vec::new()));
    assert_eq!(server.ctl(&format!("contacts --token {alice}"))["contacts"][0]["handle"], "bob");

    assert!(server.fails("calls --as alice").contains("no development key"));
    assert!(server.fails("account carol").contains("no development key"));
    assert!(!server.dir.path().join("dev-issuer.pem").exists(), "none was made");
    assert!(server.fails(&format!("calls --token {alice}x")).contains("check --token"));
    let both = server.fails(&format!("calls --as alice --token {alice}"));
    assert!(both.contains("cannot be used with"), "{both}");
}

#[test]
fn a_policy_that_there_is_not_is_refused_before_anything_binds() {
    let dir = TempDir::new().unwrap();
    let output = duocast(dir.path())
        .args(["control", "--data-dir"])
        .arg(dir.path().join("data"))
        .env("DUOCAST_POLICY__PROFILE", "generous")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(errors.contains("generous") && errors.contains("reported-2024"), "{errors}");
    assert!(!dir.path().join("data").exists(), "nothing was made");

    let printed = duocast(dir.path()).args(["config", "--policy-profile", "reported-2024"]).output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(
        printed.contains("profile = \"reported-2024\"") && printed.contains("history_days = 90"),
        "{printed}"
    );
}
