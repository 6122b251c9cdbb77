//! What a host writes to standard output, in memory.

use std::io;

use serde_json::Value;
use tokio::sync::watch;

use super::PATIENCE;

/// Shared with the writer of the log.
#[derive(Clone)]
pub struct Log(watch::Sender<String>);

impl Default for Log {
    fn default() -> Self {
        Self(watch::Sender::new(String::new()))
    }
}

impl Log {
    /// Everything so far.
    pub fn text(&self) -> String {
        self.0.borrow().clone()
    }

    /// The lines so far that are JSON.
    pub fn lines(&self) -> Vec<Value> {
        objects(&self.0.borrow()).collect()
    }

    /// Waits for a line that satisfies `wanted`.
    pub async fn line(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut log = self.0.subscribe();
        let has_it = log.wait_for(|text| objects(text).any(|line| wanted(&line)));
        let Ok(found) = tokio::time::timeout(PATIENCE, has_it).await else {
            panic!("timed out waiting for {what}:\n{}", self.text());
        };
        let text = found.expect("the log is open");
        let line = objects(&text).find(|line| wanted(line));
        line.expect("it was there")
    }
}

fn objects(text: &str) -> impl Iterator<Item = Value> {
    text.lines().filter_map(|it| serde_json::from_str(it).ok())
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = String::from_utf8_lossy(bytes);
        self.0.send_modify(|text| text.push_str(&written));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
