//! A WASI 0.3 guest that returns the request as `echo` does: JSON lines, first `{"method",
//! "target", "scheme", "authority"}`, then one `{"name", "value"}` per header, in order.

use galleria_test_guests::wasip3::http::types::{ErrorCode, Method, Request, Response, Scheme};
use galleria_test_guests::{guest_p3, p3};
use serde_json::json;

guest_p3!(answer);

async fn answer(request: Request) -> Result<Response, ErrorCode> {
    let method = match request.get_method() {
        Method::Get => "GET".to_owned(),
        Method::Head => "HEAD".to_owned(),
        other => format!("{other:?}"),
    };
    let scheme = request.get_scheme().map(|scheme| match scheme {
        Scheme::Http => "http".to_owned(),
        Scheme::Https => "https".to_owned(),
        Scheme::Other(name) => name,
    });
    let mut lines = json!({
        "method": method,
        "target": request.get_path_with_query(),
        "scheme": scheme,
        "authority": request.get_authority(),
    })
    .to_string();
    for (name, value) in request.get_headers().copy_all() {
        let value = String::from_utf8_lossy(&value).into_owned();
        lines.push('\n');
        lines.push_str(&json!({ "name": name, "value": value }).to_string());
    }
    lines.push('\n');
    Ok(p3::text(200, lines))
}
