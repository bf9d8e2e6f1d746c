//! `duocast`: see `duocast --help`.

use std::process::ExitCode;

use clap::Parser as _;
use duocast::cli::{Cli, Command, Demo};
use duocast::{call, config::Config, ctl, demo, logs, serve, term};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Only fails if a provider is installed already, and then it is this one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            term::error(&*error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if matches!(command, Command::Up(_) | Command::Router(_)) {
        runtime.on_thread_start(give_way_to_media);
    }
    let runtime = runtime.enable_all().build()?;
    match command {
        Command::Up(up) => {
            let config = Config::load(up.settings.config.as_deref(), &up.settings)?;
            logs::init(&config.log);
            runtime.block_on(serve::up(config, up.demo, up.json))?;
        }
        Command::Control(up) => {
            let config = Config::load(up.settings.config.as_deref(), &up.settings)?;
            logs::init(&config.log);
            runtime.block_on(serve::control(config, up.demo, up.json))?;
        }
        Command::Router(router) => {
            let config = Config::load(router.settings.config.as_deref(), &router.settings)?;
            logs::init(&config.log);
            runtime.block_on(serve::router(config))?;
        }
        Command::Call(args) => return Ok(runtime.block_on(call::run(args))?),
        Command::Ctl(args) => runtime.block_on(ctl::run(args))?,
        Command::Demo(Demo::Press { json }) => {
            let as_expected = runtime.block_on(demo::press(json))?;
            return Ok(if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Config(settings) => {
            let config = Config::load(settings.config.as_deref(), &settings)?;
            term::line(&toml::to_string_pretty(&config)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// For the threads of signalling, in a process that forwards media as well: where both want a core, a packet waits for a time slice less. The
/// router's threads are not among them: it is bound by this program's first thread, and they have that one's priority. Media over TLS, which the
/// threads of signalling carry, gives way as well.
fn give_way_to_media() {
    // It can only be forbidden to go the other way.
    let _ = rustix::process::nice(NICER);
}

/// See `nice(2)`: a tenth of a busy core is left. Higher lets calls wait for their answers on a node that is full, lower lets media wait for
/// calls that start.
const NICER: i32 = 10;
