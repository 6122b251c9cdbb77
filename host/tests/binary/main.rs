//! Tests of the real binary from outside: it is started on free ports and called over
//! HTTP, and the tests check responses, metrics, log lines and exit codes.
//!
//! Needs the components that `cargo xtask test` builds.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests are clients outside of the host: they wait, and a panic ends them"
)]
#![expect(
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that fails says why"
)]
#![expect(unreachable_pub, reason = "a test program has no outside")]

mod support;

mod at_rest;
mod audit;
mod authentication;
mod authorization;
mod autoscale;
mod ca;
mod canary;
mod command_line;
mod connections;
mod containment;
mod cpu;
mod dashboards;
mod data;
mod environment;
mod external_authorization;
mod files;
mod guests;
mod hostile_files;
mod hostile_guests;
mod http;
mod images;
mod jobs;
mod kube_client;
mod kubectl;
mod kubectl_deck;
mod kubectl_forward;
mod kubectl_hostile;
mod kubectl_logs;
mod kubectl_node;
mod kubectl_writes;
mod languages;
mod mutual_tls;
mod nghttp;
mod outside;
mod overload;
mod pods;
mod pressure;
mod probes;
mod quotas;
mod rate_limits;
mod reload;
mod rollout;
mod root;
mod secrets;
mod service_ports;
mod shop;
mod shutdown;
mod slow_clients;
mod startup;
mod telemetry;
mod three_places;
mod tls;
mod topology;
mod traces;
mod traffic;
mod unenforced;
mod waits;
mod workloads;
