//! From where somebody logs in, so that they know their sessions apart.

use poem::{Addr, FromRequest, Request, RequestBody, Result, http::header};
use serde::Serialize;
use service::http::Problem;

/// The most characters that are kept of what a client calls itself.
const MOST: usize = 300;

/// Address and name of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Client {
    ip: Option<String>,
    user_agent: Option<String>,
}

impl Client {
    /// For the private table.
    pub fn value(&self) -> Result<Vec<u8>, Problem> {
        serde_json::to_vec(self).map_err(Problem::internal)
    }
}

impl<'a> FromRequest<'a> for Client {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> Result<Self> {
        let ip = match &request.remote_addr().0 {
            Addr::SocketAddr(address) => Some(address.ip().to_canonical().to_string()),
            _ => None,
        };
        let name = request.headers().get(header::USER_AGENT).and_then(|name| name.to_str().ok());
        Ok(Self { ip, user_agent: name.map(|name| name.chars().take(MOST).collect()) })
    }
}
