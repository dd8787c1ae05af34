//! What is traced, as lines on stderr: with `-v` a line per request and answer, after the time; with `--debug` their
//! headers, too; for a server its warnings, what it has collected, and its access log.

use std::fmt;
use std::io;
use std::sync::Arc;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use super::output::printable;
use super::serve::AccessLog;
use crate::remote::trace::DETAILS;

/// The target of the events of the access log.
const ACCESS: &str = "bndlr::access";
/// The target of the events that say what garbage collections have done.
const COLLECTION: &str = "bndlr::collection";

/// How much is shown of what is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shown {
    /// What a server warns of, what it has collected, and its access log.
    Warnings,
    /// Requests and answers, too.
    Lines,
    /// Their headers, and what they are about, too.
    Details,
}

impl Shown {
    /// What these two flags ask for.
    pub(super) fn of(verbose: bool, debug: bool) -> Self {
        match (verbose, debug) {
            (_, true) => Self::Details,
            (true, false) => Self::Lines,
            (false, false) => Self::Warnings,
        }
    }
}

/// Writes to stderr what `bndlr` itself traces, from now on.
pub(super) fn start(shown: Shown, access: impl Into<Access>) {
    let access = access.into();
    let access_level = if matches!(access, Access::Off) { LevelFilter::OFF } else { LevelFilter::INFO };
    // What is not wanted is not even put together.
    let wanted = match shown {
        Shown::Details => Targets::new().with_target("bndlr", LevelFilter::TRACE),
        Shown::Lines => Targets::new().with_target("bndlr", LevelFilter::DEBUG),
        Shown::Warnings => {
            let others = [(ACCESS, access_level), (COLLECTION, LevelFilter::INFO)];
            Targets::new().with_target("bndlr", LevelFilter::WARN).with_targets(others)
        }
    };
    let lines = Lines { access };
    let subscriber = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).event_format(lines);
    let subscriber = subscriber.with_writer(io::stderr).finish().with(wanted);
    // It fails only where another subscriber has been set, and nobody else sets one.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// How the events of the access log are written.
pub(super) enum Access {
    /// Not at all.
    Off,
    /// With the names of their fields.
    Text,
    /// As a JSON document on each line.
    Json,
    /// As this says it.
    Told(Teller),
}

/// Says what a request came to: from its method, its path, and the status of the answer.
pub(super) type Teller = Arc<dyn Fn(&str, &str, u64) -> String + Send + Sync>;

impl From<AccessLog> for Access {
    fn from(log: AccessLog) -> Self {
        match log {
            AccessLog::Off => Self::Off,
            AccessLog::Text => Self::Text,
            AccessLog::Json => Self::Json,
        }
    }
}

/// A line for each event: its fields, and where it has details those of what it is about.
struct Lines {
    access: Access,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let target = event.metadata().target();
        if target == ACCESS && matches!(self.access, Access::Json) {
            return write_json(writer, event);
        }
        write!(writer, "{} ", jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S"))?;
        if target == ACCESS
            && let Access::Told(tell) = &self.access
        {
            return writeln!(writer, "{}", printable(&told(&**tell, event)));
        }
        context.field_format().format_fields(writer.by_ref(), event)?;
        let spans = context.event_scope().filter(|_| target == DETAILS);
        for span in spans.into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                write!(writer, " {fields}")?;
            }
        }
        writeln!(writer)
    }
}

/// `{"time":"2026-11-21T08:00:00Z","method":"GET",…}`
fn write_json(mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
    let mut fields = Fields(Map::new());
    fields.0.insert("time".to_owned(), jiff::Timestamp::now().to_string().into());
    event.record(&mut fields);
    writeln!(writer, "{}", Value::Object(fields.0))
}

fn told(tell: &dyn Fn(&str, &str, u64) -> String, event: &Event<'_>) -> String {
    let mut fields = Fields(Map::new());
    event.record(&mut fields);
    let text = |name| fields.0.get(name).and_then(Value::as_str).unwrap_or_default();
    tell(text("method"), text("path"), fields.0.get("status").and_then(Value::as_u64).unwrap_or_default())
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
}
