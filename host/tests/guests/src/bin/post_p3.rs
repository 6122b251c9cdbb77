//! A WASI 0.3 guest. `?url=URL&bytes=N` sends N bytes to that URL by POST and returns the
//! number of bytes that were accepted, and the body of the response; 502 with the error
//! code as text if the call fails.
//!
//! `&times=N` does it N times, one after the other, and returns the last response.

use galleria_test_guests::wasip3::http::client;
use galleria_test_guests::wasip3::http::types::{
    ErrorCode, Fields, Method, Request, Response, Scheme,
};
use galleria_test_guests::wasip3::{wit_future, wit_stream};
use galleria_test_guests::{guest_p3, p3};
use http::Uri;

guest_p3!(answer);

async fn answer(request: Request) -> Result<Response, ErrorCode> {
    let number = |name| p3::parameter(&request, name).and_then(|text| text.parse().ok());
    let url = p3::parameter(&request, "url").unwrap_or_default();
    let Ok(url) = url.parse::<Uri>() else {
        return Ok(p3::text(400, format!("{url} is no URL\n")));
    };
    let bytes = number("bytes").unwrap_or(0);
    let mut last = String::new();
    for _ in 0..number("times").unwrap_or(1) {
        match once(&url, bytes).await {
            Ok(text) => last = text,
            Err(code) => return Ok(p3::text(502, format!("{code:?}\n"))),
        }
    }
    Ok(p3::text(200, last))
}

async fn once(url: &Uri, bytes: usize) -> Result<String, ErrorCode> {
    let (mut sender, body) = wit_stream::new();
    let (_, no_trailers) = wit_future::new(|| Ok(None));
    let (request, _) = Request::new(Fields::new(), Some(body), no_trailers, None);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    request
        .set_method(&Method::Post)
        .and_then(|()| request.set_scheme(Some(&Scheme::Http)))
        .and_then(|()| request.set_authority(url.authority().map(|name| name.as_str())))
        .and_then(|()| request.set_path_with_query(Some(path)))
        .map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    let writing = async {
        let left = sender.write_all(vec![b'x'; bytes]).await;
        drop(sender);
        bytes - left.len()
    };
    let (taken, response) = p3::both(writing, client::send(request)).await;
    let response = response?;
    let status = response.get_status_code();
    let (_, received) = wit_future::new(|| Ok(()));
    let (body, _) = Response::consume_body(response, received);
    let answer = String::from_utf8_lossy(&body.collect().await).into_owned();
    Ok(format!("{status} {taken} {answer}"))
}
