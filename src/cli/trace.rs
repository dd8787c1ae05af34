//! `-v`: a line per request and answer, after the time.

use std::fmt;
use std::io;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes what `bndlr` itself traces to stderr, from now on.
pub(super) fn start() {
    let subscriber =
        tracing_subscriber::fmt().with_max_level(Level::DEBUG).event_format(Line).with_writer(io::stderr).finish();
    // It fails only where another subscriber has been set, and nobody else sets one.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// `2026/11/21 08:00:00 message`, and nothing of what libraries trace.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if !event.metadata().target().starts_with("bndlr") {
            return Ok(());
        }
        write!(writer, "{} ", jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S"))?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
