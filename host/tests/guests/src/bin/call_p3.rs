//! A WASI 0.3 guest. `?url=URL` performs a GET of that URL and returns its body and
//! trailers, and its status in `x-upstream-status`; 502 with the error code as text if
//! that fails, 400 if the URL is invalid.

use galleria_test_guests::wasip3::http::types::{ErrorCode, Request, Response};
use galleria_test_guests::{guest_p3, p3};
use http::Uri;

guest_p3!(answer);

async fn answer(request: Request) -> Result<Response, ErrorCode> {
    let url = p3::parameter(&request, "url").unwrap_or_default();
    let url: Uri = match url.parse() {
        Ok(url) => url,
        Err(error) => return Ok(p3::text(400, format!("{url}: {error}\n"))),
    };
    match p3::get(&url).await {
        Ok(upstream) => p3::pass_on(upstream),
        Err(code) => Ok(p3::text(502, format!("{code:?}\n"))),
    }
}
