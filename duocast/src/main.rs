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
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
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
