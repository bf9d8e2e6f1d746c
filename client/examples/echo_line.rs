//! The smallest application: answers every call with a tone, for a minute at most.
//!
//! ```sh
//! duocast up --demo &
//! export DUOCAST_TOKEN="$(duocast ctl token bob)"
//! cargo run -p duocast-client --example echo_line -- https://localhost:4433 path/to/cert.pem
//! ```

use std::time::Duration;

use duocast_client::audio::{Discard, Tone};
use duocast_client::{Client, ClientConfig, ClientEvent, Media, Roots, Token};

#[tokio::main]
#[allow(clippy::print_stdout)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "https://localhost:4433".to_owned());
    let mut config = ClientConfig::new(url, Token::new(&std::env::var("DUOCAST_TOKEN")?)?);
    if let Some(certificate) = arguments.next() {
        config.roots = Roots::Pem(std::fs::read_to_string(certificate)?);
    }

    let client = Client::connect(config).await?;
    println!("waiting for calls over {}", client.door());
    let mut events = client.events();
    while let Some(event) = events.next().await {
        let ClientEvent::Incoming(call) = event else { continue };
        println!("{} calls", call.peer().display_name);
        tokio::spawn(async move {
            call.accept(Media::audio(Tone::new(440.0), Discard)).await?;
            if tokio::time::timeout(Duration::from_secs(60), call.ended()).await.is_err() {
                call.hang_up().await?;
            }
            println!("over: {:?}", call.stats());
            Ok::<(), duocast_client::CallError>(())
        });
    }
    Ok(())
}
