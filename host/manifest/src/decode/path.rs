//! The path to a value in messages: `spec.http[0].route[1].weight`.

use std::borrow::Cow;
use std::fmt::Write;

/// One step of a path.
#[derive(Clone)]
pub(crate) enum Segment {
    Key(Cow<'static, str>),
    Index(usize),
}

/// The steps as text, with brackets around a key that is not a plain name.
pub(super) fn render(steps: &[Segment]) -> String {
    let mut path = String::new();
    for segment in steps {
        match segment {
            Segment::Index(index) => {
                let _ = write!(path, "[{index}]");
            }
            Segment::Key(key) if is_plain_key(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
            }
            Segment::Key(key) => {
                let _ = write!(path, "[{:?}]", &**key);
            }
        }
    }
    path
}

/// Steps below the current value: `steps!["ports", index, "name"]`.
macro_rules! steps {
    ($($step:expr),+ $(,)?) => { &[$($crate::decode::Segment::from($step)),+] };
}
pub(crate) use steps;

impl From<&'static str> for Segment {
    fn from(key: &'static str) -> Self {
        Self::Key(Cow::Borrowed(key))
    }
}

impl From<String> for Segment {
    fn from(key: String) -> Self {
        Self::Key(Cow::Owned(key))
    }
}

impl From<usize> for Segment {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

fn is_plain_key(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
