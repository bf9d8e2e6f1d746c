//! What the server says of itself: its Prometheus metrics, and its process where it can be seen.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Uri;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::generator;
use super::residence::Residence;

/// How long a scrape may take.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(3);

/// Largest metrics page. One of this server has some ten kilobytes.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

const BUSY: &str = "duocast_router_worker_busy_seconds_total";
const FORWARDED: &str = "duocast_router_packets_forwarded_total";
const STORE_SECONDS: &str = "duocast_control_store_batch_seconds_sum";
const STORE_BATCHES: &str = "duocast_control_store_batch_seconds_count";
const RSS: &str = "process_resident_memory_bytes";
const CPU: &str = "process_cpu_seconds_total";

/// Why a page could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScrapeError {
    #[error("--metrics-url {0}: allowed is a URL such as http://localhost:8080/metrics, without TLS")]
    Url(String),
    #[error("no answer from the metrics page")]
    Timeout,
    #[error("the metrics page cannot be reached: {0}")]
    Connect(#[from] std::io::Error),
    #[error("the metrics page cannot be read: {0}")]
    Http(#[from] hyper::Error),
    #[error("the metrics page answered {0}")]
    Status(http::StatusCode),
    #[error("the metrics page is no text, or too large")]
    Page,
}

/// Where the server can be looked at.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    uri: Uri,
    pid: Option<u32>,
}

/// The server at one moment. What it does not publish is `None`.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Sample {
    pub(crate) router_busy_seconds: Option<f64>,
    pub(crate) packets_forwarded: Option<f64>,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) resident_bytes: Option<f64>,
    pub(crate) store_batch_seconds: Option<f64>,
    pub(crate) store_batches: Option<f64>,
    pub(crate) residence: Option<Residence>,
}

impl Watch {
    pub(crate) fn new(url: &str, pid: Option<u32>) -> Result<Self, ScrapeError> {
        let wrong = || ScrapeError::Url(url.into());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            return Err(wrong());
        }
        Ok(Self { uri, pid })
    }

    /// The page of metrics.
    pub(crate) async fn page(&self) -> Result<String, ScrapeError> {
        tokio::time::timeout(SCRAPE_TIMEOUT, self.scrape()).await.unwrap_or(Err(ScrapeError::Timeout))
    }

    /// Looks once. The process is looked at even if the page cannot be read.
    pub(crate) async fn sample(&self) -> (Sample, Option<ScrapeError>) {
        let (mut sample, error) = match self.page().await {
            Ok(page) => (read(&page), None),
            Err(error) => (Sample::default(), Some(error)),
        };
        if let Some(pid) = self.pid {
            sample.resident_bytes = resident_bytes(pid).or(sample.resident_bytes);
            sample.cpu_seconds = generator::cpu_seconds(Some(pid)).or(sample.cpu_seconds);
        }
        (sample, error)
    }

    async fn scrape(&self) -> Result<String, ScrapeError> {
        let host = self.uri.host().unwrap_or_default();
        let port = self.uri.port_u16().unwrap_or(80);
        let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = http::Request::get(path).header(http::header::HOST, host).body(Empty::<&[u8]>::new());
        let request = request.map_err(|_| ScrapeError::Url(self.uri.to_string()))?;
        let response = requests.send_request(request).await?;
        if response.status() != http::StatusCode::OK {
            return Err(ScrapeError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), PAGE_BYTES_MAX).collect().await;
        connection.abort();
        let bytes = body.map_err(|_| ScrapeError::Page)?.to_bytes();
        String::from_utf8(bytes.into()).map_err(|_| ScrapeError::Page)
    }
}

fn read(page: &str) -> Sample {
    Sample {
        router_busy_seconds: sum(page, BUSY),
        packets_forwarded: sum(page, FORWARDED),
        cpu_seconds: sum(page, CPU),
        resident_bytes: sum(page, RSS),
        store_batch_seconds: sum(page, STORE_SECONDS),
        store_batches: sum(page, STORE_BATCHES),
        residence: Residence::read(page),
    }
}

/// The sum over all labels of a metric in the Prometheus text format; `None` if it is not there.
fn sum(page: &str, name: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let after_labels = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        after_labels.split_whitespace().next()?.parse::<f64>().ok().filter(|value| value.is_finite())
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// A metric in the Prometheus text format, summed by the value of one label; without it under an empty name.
pub(crate) fn labelled(page: &str, name: &str, label: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in page.lines() {
        let Some(value) = sum(line, name) else { continue };
        let mut labels = line.split(['{', ',', '}']);
        let of_label =
            labels.find_map(|pair| pair.trim().strip_prefix(label)?.strip_prefix("=\"")?.strip_suffix('"'));
        *sums.entry(of_label.unwrap_or_default().to_owned()).or_insert(0.0) += value;
    }
    sums
}

/// Resident memory of a process on this machine.
pub(crate) fn resident_bytes(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    kib.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_summed_over_their_labels_and_longer_names_are_others() {
        let page = "# HELP duocast_router_packets_forwarded_total Media packets.\n\
            duocast_router_packets_forwarded_total{kind=\"audio\"} 100\n\
            duocast_router_packets_forwarded_total{kind=\"video {x}\"} 2.5e2 1700000000\n\
            duocast_router_packets_forwarded_total_more 7\n\
            process_resident_memory_bytes 1048576\n\
            process_cpu_seconds_total NaN\n";
        let sample = read(page);
        assert_eq!(sample.packets_forwarded, Some(350.0));
        assert_eq!(sample.resident_bytes, Some(1_048_576.0));
        assert_eq!((sample.router_busy_seconds, sample.cpu_seconds), (None, None));
    }

    #[test]
    fn a_metric_can_be_told_apart_by_a_label() {
        let page = "# TYPE dropped counter\ndropped{reason=\"junk\",intended=\"no\"} 3\n\
            dropped{reason=\"late\",intended=\"no\"} 1\ndropped{intended=\"no\",reason=\"junk\"} 4\nother 9\n";
        let by_reason = labelled(page, "dropped", "reason");
        assert_eq!(by_reason.into_iter().collect::<Vec<_>>(), [("junk".into(), 7.0), ("late".into(), 1.0)]);
        assert_eq!(labelled(page, "other", "").get(""), Some(&9.0));
    }

    #[test]
    fn only_plain_http_pages_are_taken() {
        assert!(Watch::new("http://localhost:8080/metrics", None).is_ok());
        for bad in ["https://localhost/metrics", "localhost:8080", "/metrics", "http://", "not a url"] {
            let error = Watch::new(bad, None).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--metrics-url {bad}: allowed is")), "{error}");
        }
    }

    #[tokio::test]
    async fn a_page_that_is_not_there_leaves_the_figures_empty() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let watch = Watch::new(&format!("http://{free}/metrics"), Some(std::process::id())).unwrap();
        let (sample, error) = watch.sample().await;
        assert!(matches!(error, Some(ScrapeError::Connect(_))), "{error:?}");
        assert_eq!(sample.packets_forwarded, None);
        assert!(sample.resident_bytes.unwrap() > 100_000.0, "the process is visible all the same");
    }
}
