//! End-to-end suites, one binary for all: link times dominate.

mod architecture;
mod command_line;
