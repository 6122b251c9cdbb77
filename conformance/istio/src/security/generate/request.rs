//! Requests.

use crate::choice::Choose;
use std::net::Ipv4Addr;

use rand::Rng;

use super::Generator;
use crate::security::case::{Caller, PORTS, Request};

const WORKLOADS: [(&str, &str); 6] = [
    ("shop", "ui"),
    ("shop", "app-account"),
    ("bank", "teller"),
    ("bank", "ui"),
    ("shop-x", "ui"),
    ("istio-system", "other"),
];
/// Envoy tells the real address of the caller, so they are addresses of this machine.
const ADDRESSES: [&str; 5] = [
    "127.0.1.5",
    "127.0.1.77",
    "127.0.2.3",
    "127.0.2.99",
    "127.1.1.1",
];
const CLIENTS: [&str; 5] = [
    "198.51.100.9",
    "203.0.113.7",
    "203.0.113.8",
    "2001:db8::7",
    "10.1.2.3",
];
const METHODS: [(&str, u32); 6] = [
    ("GET", 50),
    ("POST", 20),
    ("PUT", 10),
    ("DELETE", 10),
    ("OPTIONS", 5),
    ("PURGE", 5),
];
const HOSTS: [&str; 9] = [
    "app.shop",
    "app.shop:8080",
    "APP.Shop",
    "shop.test",
    "shop.test:9090",
    "www.SHOP.test",
    "www.shop.test",
    "test",
    "10.9.0.1:8080",
];
const PATHS: [&str; 36] = [
    "/",
    "/items",
    "/items/",
    "/items/1",
    "/items/1/edit",
    "/items/1/2/edit",
    "/edit",
    "/x/edit",
    "/admin",
    "/admin/",
    "/admin/x",
    "/Items",
    "/ITEMS/1",
    "//items",
    "/items//1",
    "//admin",
    "/./admin",
    "/x/../admin",
    "/x/%2e%2e/admin",
    "/x/%2E%2E/admin",
    "/x/..%2fadmin",
    "/%61dmin",
    "/%41dmin",
    "/adm%69n/x",
    "/admin;x=1",
    "/admin%2Fx",
    "/admin%2fx",
    "/a/b",
    "/a%2Fb",
    "/a%2fb",
    "/a\\b",
    "/files/%7Ex",
    "/files/~x",
    "/items/%20",
    "/../admin",
    "/items/1/items/2",
];

impl Generator<'_> {
    pub(super) fn request(&mut self) -> Request {
        let mut target = self.rng.pick(&PATHS).to_owned();
        if self.rng.chance(20) {
            target += self.rng.pick(&["?x=1", "?", "?q=/admin", "?a=%2e%2e&x=1"]);
        }
        let mut request = Request {
            from: self.caller(),
            port: self.rng.weighted(&[(PORTS[0], 75), (PORTS[1], 25)]),
            method: self.rng.weighted(&METHODS).to_owned(),
            target,
            host: self.rng.pick(&HOSTS).to_owned(),
            headers: Vec::new(),
        };
        if self.through_gateway {
            request.from = Caller::Client(Ipv4Addr::LOCALHOST.into());
            request.port = PORTS[0];
            // The guest tells what it sees of these.
            request.method = self.rng.pick(&["GET", "DELETE", "OPTIONS"]).to_owned();
        }
        self.headers(&mut request);
        if self.has_token_rules() && self.rng.chance(75) || self.rng.chance(3) {
            for _ in 0..self.rng.weighted(&[(1, 85), (2, 15)]) {
                self.place_token(&mut request);
            }
        }
        request
    }

    fn has_token_rules(&self) -> bool {
        let mut policies = self.policies.iter();
        policies.any(|policy| policy["kind"] == "RequestAuthentication")
    }

    fn caller(&mut self) -> Caller {
        let mut parsed = |pool: &[&str]| self.rng.pick(pool).parse().ok();
        let (address, client) = (parsed(&ADDRESSES), parsed(&CLIENTS));
        match self.rng.random_range(0..20) {
            0..11 => {
                let (namespace, account) = self.rng.pick(&WORKLOADS);
                Caller::Workload {
                    namespace: namespace.into(),
                    account: account.into(),
                    address: address.filter(|_| self.rng.chance(30)),
                }
            }
            11..16 => Caller::Unknown { address },
            _ => client.map_or(Caller::Unknown { address }, Caller::Client),
        }
    }

    fn headers(&mut self, request: &mut Request) {
        let mut add = |name: &str, value: &str| {
            request.headers.push((name.to_owned(), value.to_owned()));
        };
        if self.rng.chance(40) {
            add(
                "x-user",
                self.rng.pick(&["ann", "bob", "Ann", "", "web", "ann,bob"]),
            );
            if self.rng.chance(20) {
                add("X-User", self.rng.pick(&["bob", "ann"]));
            }
        }
        if self.rng.chance(10) {
            add("x-empty", "");
        }
        // Envoy joins some repeated headers, and not others.
        if self.rng.chance(25) {
            add("user-agent", self.rng.pick(&["curl/8", "Mozilla"]));
            if self.rng.chance(30) {
                add("User-Agent", self.rng.pick(&["curl/8", "Mozilla"]));
            }
        }
        if self.rng.chance(15) {
            add("referer", self.rng.pick(&["a", "b"]));
            if self.rng.chance(40) {
                add("referer", self.rng.pick(&["a", "b"]));
            }
        }
        if self.rng.chance(10) {
            add("cookie", self.rng.pick(&["session=x", "a=b; session=y"]));
            // The host itself joins cookies before the mesh decides, also on HTTP/1.
            if !self.through_gateway && self.rng.chance(30) {
                add("cookie", self.rng.pick(&["session=y", "c=d"]));
            }
        }
        // A client must not be able to say what only a verified token says.
        if self.rng.chance(10) {
            let names = [
                "x-jwt-payload",
                "x-claim-sub",
                "x-claim-role",
                "x-claim-level",
            ];
            add(self.rng.pick(&names), "forged");
        }
        if self.rng.chance(10) {
            add("origin", "https://shop.test");
            add("access-control-request-method", "POST");
        }
    }

    fn place_token(&mut self, request: &mut Request) {
        let token = self.token();
        let place = self.rng.weighted(&[
            (0, 50),
            (1, 8),
            (2, 8),
            (3, 10),
            (4, 10),
            (5, 4),
            (6, 4),
            (7, 6),
        ]);
        let (name, value) = match place {
            0 => ("authorization", format!("Bearer {token}")),
            1 => ("x-token", format!("Token {token}")),
            2 => ("x-token", token),
            3 => (
                "cookie",
                format!("a=b; {}={token}", self.rng.pick(&["session", "id"])),
            ),
            4 => {
                let name = self.rng.pick(&["token", "access_token", "t"]);
                let separator = if request.target.contains('?') {
                    '&'
                } else {
                    '?'
                };
                request.target += &format!("{separator}{name}={token}");
                return;
            }
            5 => ("authorization", format!("bearer {token}")),
            6 => ("authorization", token),
            _ => ("x-token", format!("jwt={token}; more")),
        };
        request.headers.push((name.to_owned(), value));
    }
}
