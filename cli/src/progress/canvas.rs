//! The rows at the bottom of a terminal on which the bars are drawn.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;
use unicode_width::UnicodeWidthStr;

/// Erases from the cursor to the end of its row, or to the end of the screen.
const ERASE_ROW: &str = "\x1b[K";
/// Erases from the cursor to the end of the screen.
const ERASE_BELOW: &str = "\x1b[J";

/// Erases the block from its first character. The blank comes first because tmux keeps in its history what is erased
/// from the very first character of the screen.
const ERASE: &str = "\r \x1b[J\r\x1b[K";

/// The size of a terminal, as columns and rows.
pub(super) type Size = (u16, u16);

/// Draws a block of lines below all other output, and survives a change of the terminal's size.
///
/// A terminal whose width changes rewraps long lines, so it cannot be known how many rows the block has afterwards.
/// Moving up by the number of rows that were drawn would then erase output above the block, or leave rows of it behind.
/// So the cursor stays at the first character of the block. Terminals keep it there when they wrap lines, and erasing
/// from there to the end of the screen erases the block and nothing else.
///
/// `indicatif` moves up over what it drew before, and writes each line and then the blanks after it. This type ignores
/// its movements and blanks, and keeps its lines until it flushes them.
///
/// Clones draw on the same rows of the same terminal.
#[derive(Clone)]
pub(super) struct Canvas {
    /// Asks for the current size of the terminal.
    size: Arc<dyn Fn() -> Size + Send + Sync>,
    block: Arc<Mutex<Block>>,
}

/// The lines of a canvas, and whether they are on the terminal.
struct Block {
    out: Box<dyn Write + Send>,
    /// The lines of the next frame.
    lines: Vec<String>,
    /// Whether a line was written last, so that the blanks after it come next.
    is_open: bool,
    /// Whether the block is on the terminal now.
    is_drawn: bool,
    /// Whether the output above ends without a newline. A block would overwrite it, so none is drawn.
    is_mid_line: bool,
}

impl Canvas {
    /// Makes a canvas on a terminal. The function returns the size of the terminal.
    pub(super) fn new(
        out: Box<dyn Write + Send>,
        size: impl Fn() -> Size + Send + Sync + 'static,
    ) -> Self {
        Self {
            size: Arc::new(size),
            block: Arc::new(Mutex::new(Block {
                out,
                lines: Vec::new(),
                is_open: false,
                is_drawn: false,
                is_mid_line: false,
            })),
        }
    }

    /// Makes a canvas on the terminal of stderr.
    pub(super) fn on_stderr() -> Self {
        Self::new(Box::new(io::stderr()), || {
            let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
            // A terminal that does not know its size reports 0.
            let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
            size.map_or((80, 24), |size| (size.ws_col, size.ws_row))
        })
    }

    /// Sets whether the output above the block ends with a newline.
    pub(super) fn output_ends_line(&self, ends_line: bool) {
        self.block().is_mid_line = !ends_line;
    }

    fn block(&self) -> MutexGuard<'_, Block> {
        self.block.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Block {
    /// Returns the bytes that turn the drawn block into the wanted one.
    fn frame(&mut self, columns: usize) -> String {
        let mut lines = std::mem::take(&mut self.lines);
        self.is_open = false;
        // Jobs that have ended leave empty lines behind.
        while lines.last().is_some_and(|line| line.trim().is_empty()) {
            lines.pop();
        }
        if self.is_mid_line {
            lines.clear();
        }
        if lines.is_empty() {
            let frame = if self.is_drawn { ERASE } else { "" };
            self.is_drawn = false;
            return frame.to_owned();
        }
        self.is_drawn = true;
        let rows = |line: &String| line.width().div_ceil(columns.max(1)).max(1);
        let height: usize = lines.iter().map(rows).sum();
        let mut frame = format!("\r{}", lines.join(&format!("{ERASE_ROW}\r\n")));
        frame.push_str(ERASE_BELOW);
        frame.push('\r');
        if height > 1 {
            // Writing to a string cannot fail.
            let _ = write!(frame, "\x1b[{}A", height - 1);
        }
        frame
    }
}

impl fmt::Debug for Canvas {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Canvas").finish_non_exhaustive()
    }
}

impl TermLike for Canvas {
    /// Returns the usable width: one column less than the terminal has. Terminals differ in whether they begin a new
    /// row when the last column is filled.
    fn width(&self) -> u16 {
        let (columns, _) = (self.size)();
        columns.saturating_sub(1).max(1)
    }

    /// Returns the usable height: one row less than the terminal has, so that the block never scrolls its first row
    /// away.
    fn height(&self) -> u16 {
        let (_, rows) = (self.size)();
        rows.saturating_sub(1).max(1)
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.block().lines.push(line.to_owned());
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut block = self.block();
        if block.is_open {
            block.is_open = false;
        } else if text != "\r" {
            block.lines.push(text.to_owned());
            block.is_open = true;
        }
        Ok(())
    }

    /// Writes the frame and ignores errors, because `indicatif` would panic. Bars that cannot be seen are no reason to
    /// end a run.
    fn flush(&self) -> io::Result<()> {
        let (columns, _) = (self.size)();
        let mut block = self.block();
        let frame = block.frame(columns.into());
        if !frame.is_empty() {
            let _ = block.out.write_all(frame.as_bytes());
            let _ = block.out.flush();
        }
        Ok(())
    }
}
