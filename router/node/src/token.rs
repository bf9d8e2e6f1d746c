//! The node's token: where it comes from at each attempt to link.

use std::path::PathBuf;

/// Longest token file that is read, in bytes. A JWT has a few hundred.
const FILE_MAX: u64 = 16 * 1024;

/// Where the bearer token of a node (claim `scope` = "node") is. Its text is never logged.
#[derive(Clone)]
pub enum TokenSource {
    /// The token itself: for a router in the process that issued it.
    Given(String),
    /// A file that is read anew at each attempt to link, so that a token can be replaced while the node runs. White space
    /// around the token is ignored.
    File(PathBuf),
}

/// Why there is no token to link with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token file {} cannot be read: {source}; check the path of link.token and its permissions", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("the token file {} is larger than a token can be; check the path of link.token", path.display())]
    TooLarge { path: PathBuf },
    #[error(
        "the node token is not a valid header value; put the one that was issued for this node into link.token"
    )]
    Malformed,
}

impl TokenSource {
    /// The header value of an attempt that begins now.
    pub(crate) async fn bearer(&self) -> Result<tonic::metadata::AsciiMetadataValue, TokenError> {
        let token = match self {
            Self::Given(token) => token.clone(),
            Self::File(path) => read(path).await?,
        };
        let mut bearer: tonic::metadata::AsciiMetadataValue =
            format!("Bearer {}", token.trim()).parse().map_err(|_| TokenError::Malformed)?;
        bearer.set_sensitive(true);
        Ok(bearer)
    }
}

async fn read(path: &PathBuf) -> Result<String, TokenError> {
    let failed = |source| TokenError::File { path: path.clone(), source };
    if tokio::fs::metadata(path).await.map_err(failed)?.len() > FILE_MAX {
        return Err(TokenError::TooLarge { path: path.clone() });
    }
    tokio::fs::read_to_string(path).await.map_err(failed)
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}
