//! The annotations `galleria.dev/…` of a pod template.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::decode::{Decoder, did_you_mean};
use crate::duration::duration;
use crate::model::{GuestOptions, Isolation};
use crate::{WithPosition, codes};

const PREFIX: &str = "galleria.dev/";
const ISOLATION: &str = "galleria.dev/isolation";
const INSTANCES: &str = "galleria.dev/max-instances";
const QUEUE: &str = "galleria.dev/max-queue";
const REQUEST_TIMEOUT: &str = "galleria.dev/request-timeout";
/// The admin API adds this one to objects that differ from their file.
const DRIFT: &str = "galleria.dev/drift";

/// Reads the options among `annotations`; the decoder's path is that of the
/// annotations. An option that cannot be read is reported and has its default.
pub(super) fn read(
    d: &mut Decoder,
    annotations: &BTreeMap<String, WithPosition<String>>,
) -> GuestOptions {
    let defaults = GuestOptions::default();
    let mut options = Options { d, annotations };
    options.report_unknown();
    GuestOptions {
        isolation: options.option(ISOLATION, isolation),
        instances_max: options
            .option(INSTANCES, count(1..=1_000))
            .unwrap_or(defaults.instances_max),
        queue_max: options
            .option(QUEUE, count(0..=100_000))
            .unwrap_or(defaults.queue_max),
        request_timeout: options.option(REQUEST_TIMEOUT, duration),
    }
}

struct Options<'a> {
    d: &'a mut Decoder,
    annotations: &'a BTreeMap<String, WithPosition<String>>,
}

impl Options<'_> {
    /// `parse` returns what to write instead, if the value is not valid.
    fn option<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.annotations.get(name)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(instead) => {
                let message = format!("`{name}` is {}; {instead}", self.d.show(text));
                let mark = (&text.at).into();
                self.d
                    .under(name, |d| d.error(mark, codes::INVALID_VALUE, message));
                None
            }
        }
    }

    fn report_unknown(&mut self) {
        let known = [ISOLATION, INSTANCES, QUEUE, REQUEST_TIMEOUT];
        for (name, text) in self.annotations {
            let is_known = known.contains(&name.as_str()) || name == DRIFT;
            if !name.starts_with(PREFIX) || is_known {
                continue;
            }
            let hint = did_you_mean(name, known.into_iter());
            let message = format!("unknown annotation, it has no effect{hint}");
            let mark = (&text.at).into();
            self.d.under(name.clone(), |d| {
                d.warning(mark, codes::UNKNOWN_FIELD, message);
            });
        }
    }
}

fn isolation(text: &str) -> Result<Isolation, String> {
    match text {
        "request" => Ok(Isolation::Request),
        "instance" => Ok(Isolation::Instance),
        _ => Err("it must be `request` or `instance`".to_owned()),
    }
}

fn count(range: RangeInclusive<u32>) -> impl FnOnce(&str) -> Result<u32, String> {
    move |text| match text.parse() {
        Ok(count) if range.contains(&count) => Ok(count),
        _ => {
            let (least, most) = (range.start(), range.end());
            Err(format!("it must be a number from {least} to {most}"))
        }
    }
}
