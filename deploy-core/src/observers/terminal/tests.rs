use std::{
    io,
    sync::{Arc, Mutex},
};

use indicatif::TermLike;

use super::*;
use crate::{
    model::{Instance, Motion},
    observers::fixture::{at, fact, look, rolled_back, seen, started},
};

/// A terminal as wide as indicatif fills its lines: rows of text, and a cursor.
#[derive(Debug, Clone)]
struct Screen(Arc<Mutex<Rows>>);

#[derive(Debug, Default)]
struct Rows {
    rows: Vec<String>,
    row: usize,
    column: usize,
}

const WIDTH: u16 = 120;

impl Rows {
    fn go_to(&mut self, row: usize, column: usize) {
        (self.row, self.column) = (row, column);
        while self.rows.len() <= row {
            self.rows.push(String::new());
        }
    }

    fn put(&mut self, c: char) {
        if c == '\n' || self.column == usize::from(WIDTH) {
            self.go_to(self.row + 1, 0);
        }
        if c != '\n' {
            let row = &mut self.rows[self.row];
            // Everything is drawn on cleared lines, from the left.
            assert_eq!(row.chars().count(), self.column, "{row}");
            row.push(c);
            self.column += 1;
        }
    }
}

impl Screen {
    fn new() -> Self {
        let mut rows = Rows::default();
        rows.go_to(0, 0);
        Self(Arc::new(Mutex::new(rows)))
    }

    fn text(&self) -> String {
        let text: String = locked(&self.0).rows.iter().map(|row| row.trim_end().to_owned() + "\n").collect();
        text.trim_end().to_owned()
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        WIDTH
    }
    fn height(&self) -> u16 {
        60
    }
    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        let mut rows = locked(&self.0);
        let (row, column) = (rows.row.saturating_sub(n), rows.column);
        rows.go_to(row, column);
        Ok(())
    }
    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        let mut rows = locked(&self.0);
        let (row, column) = (rows.row + n, rows.column);
        rows.go_to(row, column);
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)?;
        self.write_str("\n")
    }
    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut rows = locked(&self.0);
        text.chars().for_each(|c| rows.put(c));
        Ok(())
    }
    fn clear_line(&self) -> io::Result<()> {
        let mut rows = locked(&self.0);
        let row = rows.row;
        rows.rows[row].clear();
        rows.go_to(row, 0);
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

fn watching() -> View {
    let mut view = View::new(Zone::utc());
    view.see(&fact(1, "02:11:57", PhaseName::Guard, started()));
    let look_at = |time: &str, state: &str| {
        let mut seen = seen(time, [2, 2, 1, 2], Motion::Progressing);
        seen.instances = vec![
            Instance::new("5f21c9", "prod-api-task:42", "healthy"),
            Instance::new("88ab07", "prod-api-task:42", state),
            Instance::new("000001", "prod-api-task:41", "healthy"),
        ];
        look(PhaseName::Watch, seen)
    };
    view.see(&look_at("02:12:00", "pending"));
    view.see(&look_at("02:12:58", "starting"));
    view
}

#[test]
fn the_block_shows_both_sides_and_what_ctrl_c_does() {
    let block = block(&watching(), at("02:13:12")).join("\n") + "\n";
    assert_eq!(block, include_str!("../../../tests/golden/screens/block.txt"));
}

#[test]
fn the_block_goes_back_when_the_deploy_does() {
    let mut view = watching();
    view.see(&look(PhaseName::Back, seen("02:13:20", [2, 2, 1, 1], Motion::Progressing)));
    let block = block(&view, at("02:13:21")).join("\n");
    assert!(block.starts_with("  back   0:01 of "), "{block}");
    assert!(block.contains("old  prod-api-task:41  ==========----------  1/2 healthy"), "{block}");
    assert!(block.contains("new  prod-api-task:42  1 left"), "{block}");
    assert!(block.ends_with("Going back.  Ctrl-C twice: leave it for `ecs resume`"), "{block}");
}

#[test]
fn a_bar_is_never_longer_than_it_is() {
    for (healthy, desired, full) in
        [(0, 0, 0), (0, 2, 0), (1, 2, 10), (2, 2, 20), (9, 2, 20), (u32::MAX, 1, 20)]
    {
        let shown = bar(Counts::new(desired, 0, healthy, 0));
        assert_eq!((shown.len(), shown.matches('=').count()), (BAR, full), "{healthy}/{desired}");
    }
}

#[test]
fn finished_lines_stay_and_the_block_is_gone_at_the_end() {
    let screen = Screen::new();
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255);
    let terminal = Terminal::on(target);
    let events = rolled_back();
    let ended = events.len() - 1;
    events[..ended].iter().for_each(|event| terminal.see(event));
    terminal.see(&events[ended]);
    drop(terminal);
    assert_eq!(screen.text() + "\n", include_str!("../../../tests/golden/screens/terminal.txt"));
}

#[test]
fn the_block_is_below_the_lines_while_something_is_watched() {
    let screen = Screen::new();
    let terminal = Terminal::on(ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255));
    rolled_back()[..7].iter().for_each(|event| terminal.see(event));
    locked(&terminal.state).1.force_draw();
    let text = screen.text();
    assert!(text.contains("  done   register    prod-api-task:42"), "{text}");
    assert_eq!(text.matches("--------------------  0/2 healthy").count(), 1, "{text}");
    assert!(text.lines().last().unwrap().contains("Ctrl-C: go back."), "{text}");
}
