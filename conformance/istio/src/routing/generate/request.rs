//! Requests.

use super::Generator;
use crate::choice::Choose;
use crate::routing::case::{PROXIES, Request};

const AT_GATEWAY: [(&str, u32); 8] = [
    ("shop.test", 40),
    ("api.shop.test", 15),
    ("www.test", 10),
    ("bank.test", 10),
    ("SHOP.test", 4),
    ("test", 4),
    ("a.b.shop.test", 8),
    ("cart.shop.svc.cluster.local", 9),
];

const IN_MESH: [(&str, u32); 17] = [
    ("cart.shop.svc.cluster.local", 15),
    ("cart.shop", 10),
    ("cart", 10),
    ("cart.shop.svc", 3),
    ("ledger.bank", 10),
    ("ledger.bank.svc.cluster.local", 5),
    ("ledger", 4),
    ("ui", 6),
    ("ui.shop", 6),
    ("vault.bank", 4),
    ("api.example.com", 10),
    ("other.example.com", 3),
    ("x.wild.example", 6),
    ("y.wild.example", 4),
    ("nowhere.example", 3),
    ("shop.test", 3),
    ("CART.shop", 2),
];

const PATHS: [&str; 22] = [
    "/",
    "/api",
    "/api/",
    "/api/v1",
    "/apix",
    "/items",
    "/items/1",
    "/items/1/edit",
    "/items/",
    "/ITEMS",
    "/ITEMS/1",
    "/a",
    "/A/b",
    "/x",
    "/x/",
    "/x/1",
    "/x/../api",
    "/%69tems/1",
    "/items%2F1",
    "//x",
    "/x//1",
    "/unknown",
];

const QUERIES: [&str; 8] = ["", "", "", "", "?q=1", "?q=12&v=x", "?v=1", "?Q=1"];

impl Generator {
    pub(super) fn request(&mut self) -> Request {
        let proxy = self.rng.weighted(&[(0, 50), (1, 30), (2, 20)]);
        let is_gateway = PROXIES[proxy].gateway;
        let port = self.rng.weighted(&[(80, 75), (8080, 25)]);
        let host = match is_gateway {
            true => self.rng.weighted(&AT_GATEWAY),
            false => self.rng.weighted(&IN_MESH),
        };
        // In the mesh, a client takes the port from the URL.
        let with_port = match is_gateway {
            true => self.rng.chance(10),
            false => port != 80 || self.rng.chance(5),
        };
        let host = match with_port {
            true => format!("{host}:{port}"),
            false => host.to_owned(),
        };
        let mut method =
            self.rng
                .weighted(&[("GET", 70), ("POST", 15), ("OPTIONS", 10), ("PUT", 5)]);
        let mut headers = Vec::new();
        let mut add = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
        if self.rng.chance(40) {
            add("x-user", self.rng.pick(&["ann", "annie", "bob", ""]));
        }
        if self.rng.chance(15) {
            add("x-kind", self.rng.pick(&["ann", "bob"]));
        }
        if self.rng.chance(8) {
            add("cookie", self.rng.pick(&["a=1", "b=2; a=1"]));
            if self.extended && self.rng.chance(30) {
                add("cookie", "c=3");
            }
        }
        if self.extended && self.rng.chance(10) {
            add(
                "x-want-status",
                self.rng.pick(&["503", "500", "409", "404"]),
            );
        }
        if self.extended && self.rng.chance(3) {
            add("x-want-delay", "400");
        }
        if self.rng.chance(25) {
            let origins = ["https://a.test", "https://b.test", "https://c.test"];
            add("origin", self.rng.pick(&origins));
            if self.rng.chance(50) {
                method = "OPTIONS";
                add("access-control-request-method", "POST");
            }
        }
        let target = format!("{}{}", self.rng.pick(&PATHS), self.rng.pick(&QUERIES));
        Request {
            proxy,
            port,
            method: method.to_owned(),
            target,
            host,
            headers,
        }
    }
}
