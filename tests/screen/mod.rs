//! What a terminal shows of what a program wrote to it.

/// The lines on a screen as wide as this, as a person sees them, with the empty ones.
pub fn shown(written: &str, columns: usize) -> Vec<String> {
    let mut screen = Screen { columns, lines: vec![String::new()], row: 0, column: 0 };
    let mut rest = written;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\u{1b}' => rest = screen.sequence(rest.strip_prefix('[').unwrap()),
            '\r' => screen.column = 0,
            '\n' => screen.down(1),
            c => screen.put(c),
        }
    }
    screen.lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

struct Screen {
    columns: usize,
    lines: Vec<String>,
    row: usize,
    /// One more than there are, after the last one has been written to: the next character goes on to the next line.
    column: usize,
}

impl Screen {
    fn put(&mut self, c: char) {
        if self.column == self.columns {
            self.column = 0;
            self.down(1);
        }
        let mut line: Vec<char> = self.lines[self.row].chars().collect();
        line.resize(line.len().max(self.column + 1), ' ');
        line[self.column] = c;
        self.lines[self.row] = line.into_iter().collect();
        self.column += 1;
    }

    fn down(&mut self, by: usize) {
        self.row += by;
        self.lines.resize(self.lines.len().max(self.row + 1), String::new());
    }

    /// Does what the rest of an escape sequence says, and returns what comes after it.
    fn sequence<'a>(&mut self, text: &'a str) -> &'a str {
        let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap();
        let (number, letter) = (text[..end].parse().unwrap_or(1), &text[end..=end]);
        match letter {
            "A" => self.row = self.row.saturating_sub(number),
            "B" => self.down(number),
            "K" => self.lines[self.row].clear(),
            "m" => {}
            other => panic!("{other} is not known here: {text:?}"),
        }
        &text[end + 1..]
    }
}

#[test]
fn a_full_line_goes_on_with_the_next_character() {
    assert_eq!(shown("abcd^C\r\u{1b}[2Kx\r\n", 4), ["abcd", "x", ""]);
    assert_eq!(shown("abcd\r^C\r\u{1b}[2Kx\r\ny\u{1b}[1Az", 4), ["xz", "y"]);
}
