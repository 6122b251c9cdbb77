//! A container's environment: `env`, `envFrom`, and their references.

use std::collections::HashMap;

use galleria_manifest::model::{Container, EnvFrom, EnvSource, EnvValue, is_variable_name};
use galleria_manifest::{Position, WithPosition};

use super::configuration::{Configuration, Values};
use super::field::{self, PodFacts};

/// A reference that cannot be resolved. The message never contains a value.
#[derive(Debug)]
pub(crate) struct EnvironmentError {
    pub at: Position,
    pub message: String,
}

/// The environment as Kubernetes defines it: `env` overrides `envFrom`, and each `$(NAME)`
/// is replaced by the variable if it was defined before.
///
/// # Errors
/// Every reference to something that does not exist and is not optional.
pub(crate) fn resolve(
    container: &Container,
    configuration: &Configuration,
    facts: &PodFacts<'_>,
) -> Result<Vec<(String, String)>, Vec<EnvironmentError>> {
    let mut environment = Environment::default();
    let mut errors = Vec::new();
    let namespace = &facts.identity.namespace;
    for source in &container.env_from {
        if let Err(error) = environment.add_all(source, namespace, configuration) {
            errors.push(error);
        }
    }
    for variable in &container.env {
        match value(
            &variable.value,
            namespace,
            configuration,
            facts,
            &environment,
        ) {
            Ok(Some(value)) => environment.set(&variable.name, value),
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(environment.in_order())
    } else {
        Err(errors)
    }
}

/// Replaces `$(NAME)` by the result of `value`. `$$(NAME)` becomes `$(NAME)`, and an
/// undefined `$(NAME)` is left unchanged.
pub(super) fn expand<'v>(text: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        expanded.push_str(before);
        rest = if let Some(escaped) = from.strip_prefix("$$") {
            expanded.push('$');
            escaped
        } else if let Some((name, after)) = from
            .strip_prefix("$(")
            .and_then(|inner| inner.split_once(')'))
            && let Some(value) = value(name)
        {
            expanded.push_str(value);
            after
        } else {
            expanded.push('$');
            from.strip_prefix('$').unwrap_or_default()
        };
    }
    expanded.push_str(rest);
    expanded
}

/// The value of a variable in a resolved environment.
pub(super) fn lookup<'e>(environment: &'e [(String, String)], name: &str) -> Option<&'e str> {
    let mut variables = environment.iter();
    let found = variables.find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

/// The container's command line: `command` and `args`, with `$(NAME)` replaced.
pub(super) fn arguments(container: &Container, environment: &[(String, String)]) -> Vec<String> {
    let words = container.arguments.iter();
    let expanded = words.map(|word| expand(word, |name| lookup(environment, name)));
    std::iter::once(container.name.value.clone())
        .chain(expanded)
        .collect()
}

/// Variables in the order of their first definition; the last value wins.
#[derive(Default)]
struct Environment {
    order: Vec<String>,
    values: HashMap<String, String>,
}

impl Environment {
    fn set(&mut self, name: &str, value: String) {
        if self.values.insert(name.to_owned(), value).is_none() {
            self.order.push(name.to_owned());
        }
    }

    fn add_all(
        &mut self,
        from: &EnvFrom,
        namespace: &str,
        configuration: &Configuration,
    ) -> Result<(), EnvironmentError> {
        let (name, kind, values) = match &from.source {
            EnvSource::ConfigMap(name) => {
                (name, "ConfigMap", configuration.config_map(namespace, name))
            }
            EnvSource::Secret(name) => (name, "Secret", configuration.secret(namespace, name)),
        };
        let Some(values) = values else {
            return if from.optional {
                Ok(())
            } else {
                Err(missing(kind, name, namespace))
            };
        };
        for (key, value) in values.variables() {
            let name = format!("{}{key}", from.prefix);
            // The manifest reader warns of keys that cannot be variables.
            if is_variable_name(&name) {
                self.set(&name, value);
            }
        }
        Ok(())
    }

    fn in_order(mut self) -> Vec<(String, String)> {
        let value = |name: String| {
            let value = self.values.remove(&name).unwrap_or_default();
            (name, value)
        };
        self.order.into_iter().map(value).collect()
    }
}

fn value(
    value: &EnvValue,
    namespace: &str,
    configuration: &Configuration,
    facts: &PodFacts<'_>,
    environment: &Environment,
) -> Result<Option<String>, EnvironmentError> {
    match value {
        EnvValue::Literal(literal) => {
            let expanded = expand(literal, |name| {
                environment.values.get(name).map(String::as_str)
            });
            Ok(Some(expanded))
        }
        EnvValue::ConfigMapKey {
            name,
            key,
            optional,
        } => entry(
            configuration.config_map(namespace, name),
            "ConfigMap",
            name,
            key,
            *optional,
            namespace,
        ),
        EnvValue::SecretKey {
            name,
            key,
            optional,
        } => entry(
            configuration.secret(namespace, name),
            "Secret",
            name,
            key,
            *optional,
            namespace,
        ),
        EnvValue::Field(path) => field::field(path, facts).map(Some),
        EnvValue::ResourceField { resource, divisor } => {
            field::resource_field(resource, *divisor, facts).map(Some)
        }
    }
}

fn entry(
    values: Option<&Values>,
    kind: &str,
    name: &WithPosition<String>,
    key: &WithPosition<String>,
    optional: bool,
    namespace: &str,
) -> Result<Option<String>, EnvironmentError> {
    match values {
        Some(values) => match values.variable(key) {
            Some(value) => Ok(Some(value)),
            None if optional => Ok(None),
            None => Err(EnvironmentError {
                at: key.at.clone(),
                message: format!("{kind} `{name}` has no key `{key}`"),
            }),
        },
        None if optional => Ok(None),
        None => Err(missing(kind, name, namespace)),
    }
}

fn missing(kind: &str, name: &WithPosition<String>, namespace: &str) -> EnvironmentError {
    EnvironmentError {
        at: name.at.clone(),
        message: format!("there is no {kind} `{name}` in namespace `{namespace}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(values: &[(&str, &str)]) -> Environment {
        let mut environment = Environment::default();
        for (name, value) in values {
            environment.set(name, (*value).to_owned());
        }
        environment
    }

    #[test]
    fn references_are_expanded_as_in_kubernetes() {
        let environment = environment(&[("HOST", "db"), ("PORT", "5432")]);
        for (text, expanded) in [
            ("$(HOST):$(PORT)", "db:5432"),
            ("$$(HOST)", "$(HOST)"),
            ("$$$(HOST)", "$db"),
            ("$(NONE)", "$(NONE)"),
            ("$HOST", "$HOST"),
            ("$(HOST", "$(HOST"),
            ("cost: 5$", "cost: 5$"),
            ("", ""),
        ] {
            let value = |name: &str| environment.values.get(name).map(String::as_str);
            assert_eq!(expand(text, value), expanded, "{text}");
        }
    }

    #[test]
    fn last_definition_wins_at_the_position_of_the_first() {
        let environment = environment(&[("A", "1"), ("B", "2"), ("A", "3")]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(environment.in_order(), [pair("A", "3"), pair("B", "2")]);
    }
}
