//! What is traced, as lines on stderr: with `-v` a line per request and answer, after the time; for a server its
//! warnings, and its access log.

use std::fmt;
use std::io;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::serve::AccessLog;

/// The target of the events of the access log.
const ACCESS: &str = "bndlr::access";

/// Writes to stderr what `bndlr` itself traces, from now on: all of it, when `verbose`; else what a server warns of, and
/// its access log.
pub(super) fn start(verbose: bool, access: AccessLog) {
    let level = match (verbose, access) {
        (true, _) => Level::DEBUG,
        (false, AccessLog::Off) => Level::WARN,
        (false, AccessLog::Text | AccessLog::Json) => Level::INFO,
    };
    let lines = Lines { verbose, access };
    let subscriber =
        tracing_subscriber::fmt().with_max_level(level).event_format(lines).with_writer(io::stderr).finish();
    // It fails only where another subscriber has been set, and nobody else sets one.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// A line for each event, and none for what libraries trace.
struct Lines {
    verbose: bool,
    access: AccessLog,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (target, level) = (event.metadata().target(), *event.metadata().level());
        let is_access = target == ACCESS;
        if is_access && self.access == AccessLog::Json {
            return write_json(writer, event);
        }
        let is_wanted = self.verbose || level <= Level::WARN || is_access;
        if !target.starts_with("bndlr") || !is_wanted {
            return Ok(());
        }
        write!(writer, "{} ", jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S"))?;
        context.field_format().format_fields(writer.by_ref(), event)?;
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
