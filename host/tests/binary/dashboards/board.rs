//! The dashboard files and their queries.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use serde_json::Value;

use crate::support::Prometheus;

/// A file of `grafana/dashboards`.
pub struct Board {
    pub name: String,
    json: Value,
}

/// A query of a dashboard.
#[derive(Debug, Clone)]
pub struct Query {
    /// The dashboard and the title of the panel.
    place: String,
    /// The query, with variables.
    pub text: String,
    /// The query as it is sent to Prometheus.
    asked: String,
    /// Labels that the legend uses.
    labels: Vec<String>,
    /// What was wrong with the last result.
    trouble: String,
}

/// Every dashboard.
pub fn all() -> Vec<Board> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../grafana/dashboards");
    let files = std::fs::read_dir(folder).expect("the dashboards");
    files
        .map(|it| Board::read(&it.expect("a file").path()))
        .collect()
}

impl Board {
    fn read(file: &Path) -> Self {
        let name = file.file_stem().expect("a name").to_string_lossy();
        let text = std::fs::read_to_string(file).expect("a file");
        let json = serde_json::from_str(&text);
        Self {
            json: json.unwrap_or_else(|error| panic!("{name}: {error}")),
            name: name.into_owned(),
        }
    }

    pub fn uid(&self) -> &str {
        self.json["uid"].as_str().expect("a uid")
    }

    fn panels(&self) -> &[Value] {
        self.json["panels"].as_array().expect("panels")
    }

    /// Panels that show data, not headings.
    fn shown(&self) -> impl Iterator<Item = &Value> {
        self.panels().iter().filter(|panel| panel["type"] != "row")
    }

    fn variables(&self) -> &[Value] {
        self.json["templating"]["list"]
            .as_array()
            .expect("variables")
    }

    /// The mistakes in the file; `uids` are those of all dashboards.
    pub fn mistakes(&self, uids: &HashSet<&str>) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut check = |is_good: bool, what: String| {
            if !is_good {
                mistakes.push(what);
            }
        };
        check(
            self.uid() == format!("galleria-{}", self.name),
            "uid".to_owned(),
        );
        let first = &self.variables()[0];
        check(
            first["type"] == "datasource",
            format!("first variable {first}"),
        );
        let is_chosen = |part: &Value| part["datasource"]["uid"] == "${datasource}";
        for variable in &self.variables()[1..] {
            let is_good = variable["type"] == "custom" || is_chosen(variable);
            check(is_good, format!("datasource of {variable}"));
        }
        let ids: HashSet<u64> = self
            .panels()
            .iter()
            .filter_map(|it| it["id"].as_u64())
            .collect();
        check(ids.len() == self.panels().len(), "ids of panels".to_owned());
        let titles: HashSet<&str> = self.shown().filter_map(|it| it["title"].as_str()).collect();
        check(
            titles.len() == self.shown().count(),
            "titles of panels".to_owned(),
        );
        for panel in self.shown() {
            let has = |field: &Value| field.as_str().is_some_and(|text| !text.is_empty());
            let title = &panel["title"];
            check(has(title), format!("title of {}", panel["id"]));
            check(
                has(&panel["description"]),
                format!("description of {title}"),
            );
            check(
                has(&panel["fieldConfig"]["defaults"]["unit"]),
                format!("unit of {title}"),
            );
            check(is_chosen(panel), format!("datasource of {title}"));
            check(!targets(panel).is_empty(), format!("targets of {title}"));
            let width = &panel["gridPos"];
            let right = width["x"].as_u64().zip(width["w"].as_u64());
            check(
                right.is_some_and(|(x, w)| x + w <= 24),
                format!("width of {title}"),
            );
        }
        for (index, panel) in self.panels().iter().enumerate() {
            let covers = |it: &&Value| overlap(&it["gridPos"], &panel["gridPos"]);
            let covered = self.panels()[..index].iter().find(covers);
            let place = &panel["title"];
            check(covered.is_none(), format!("position {place} is used twice"));
        }
        let text = self.json.to_string();
        for link in text.split("\"/d/").skip(1) {
            let uid = link.split(['?', '"']).next().unwrap_or_default();
            check(uids.contains(uid), format!("link to {uid}"));
        }
        mistakes
    }

    /// The queries of panels, annotations and variables.
    pub fn queries(&self) -> Vec<Query> {
        let of_panels = self.shown().flat_map(|panel| {
            let title = panel["title"].as_str().expect("a title");
            let of_target = move |target: &Value| {
                let legend = target["legendFormat"].as_str().unwrap_or_default();
                self.query(title, &target["expr"], labels(legend))
            };
            targets(panel).iter().map(of_target)
        });
        let marks = self.json["annotations"]["list"].as_array().expect("marks");
        let of_marks = marks.iter().map(|mark| {
            let title = mark["name"].as_str().expect("a name");
            let shown = mark["titleFormat"].as_str().unwrap_or_default();
            self.query(title, &mark["target"]["expr"], labels(shown))
        });
        let of_variables = self.variables().iter().filter_map(|variable| {
            let query = variable["query"]["query"].as_str()?;
            let values = query.strip_prefix("label_values(")?.strip_suffix(')')?;
            let (series, label) = values.rsplit_once(", ").expect("a label");
            let title = format!("variable {}", variable["name"]);
            Some(self.query(&title, &series.into(), vec![label.to_owned()]))
        });
        of_panels.chain(of_marks).chain(of_variables).collect()
    }

    fn query(&self, title: &str, text: &Value, labels: Vec<String>) -> Query {
        let text = text.as_str().expect("a query");
        let mut asked = text
            // Eight scrapes of one second each.
            .replace("$__rate_interval", "8s")
            .replace("$__range", "5m");
        for variable in self.variables() {
            let name = variable["name"].as_str().expect("a name");
            let chosen = variable["current"]["value"].as_str();
            let all = variable["allValue"].as_str();
            let value = all.or(chosen).unwrap_or_default();
            asked = asked.replace(&format!("${name}"), value);
        }
        // `$1` is the match of a pattern.
        let rest = asked.replace("\"$1\"", "");
        assert!(!rest.contains('$'), "{}, {title}: {asked}", self.name);
        Query {
            place: format!("{}, {title}", self.name),
            text: text.to_owned(),
            asked,
            labels,
            trouble: String::new(),
        }
    }
}

impl Query {
    /// Whether the result has a value, with the labels of the legend.
    pub fn is_answered(&mut self, prometheus: &Prometheus) -> bool {
        let series = match prometheus.query(&self.asked) {
            Ok(series) => series,
            Err(error) => {
                self.trouble = error;
                return false;
            }
        };
        let number = |it: &Value| it["value"][1].as_str()?.parse::<f64>().ok();
        let is_shown = |it: &&Value| number(it).is_some_and(f64::is_finite);
        let shown: Vec<&Value> = series.iter().filter(is_shown).collect();
        let has = |label: &&String| shown.iter().any(|it| it["metric"].get(label).is_some());
        let missing: Vec<&String> = self.labels.iter().filter(|it| !has(it)).collect();
        self.trouble = match (series.len(), shown.len()) {
            (0, _) => "no series".to_owned(),
            (_, 0) => "no number".to_owned(),
            _ if missing.is_empty() => return true,
            _ => format!("no label {missing:?}"),
        };
        false
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.trouble, self.asked)
    }
}

fn targets(panel: &Value) -> &[Value] {
    panel["targets"].as_array().map_or(&[], Vec::as_slice)
}

/// The labels in `{{…}}`.
fn labels(legend: &str) -> Vec<String> {
    let parts = legend.split("{{").skip(1);
    parts
        .filter_map(|part| Some(part.split_once("}}")?.0.to_owned()))
        .collect()
}

fn overlap(one: &Value, other: &Value) -> bool {
    let meet = |at: &str, length: &str| {
        let range = |it: &Value| {
            let start = it[at].as_u64().expect("a place");
            start..start + it[length].as_u64().expect("a length")
        };
        let (one, other) = (range(one), range(other));
        one.start < other.end && other.start < one.end
    };
    meet("x", "w") && meet("y", "h")
}
