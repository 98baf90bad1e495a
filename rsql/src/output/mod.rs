//! What people and log readers see: tables on stdout, messages on stderr.
//!
//! Tables look as psql prints them. Unaligned and CSV output streams row by row in bounded memory;
//! aligned and expanded output has to see all rows first to know how wide they are.

mod aligned;
mod cell;
mod expanded;
mod layout;
pub mod message;
mod result;
mod terminal;
mod unaligned;

pub use layout::{Format, Layout, LayoutError};
pub use result::ResultPrinter;
pub use terminal::Terminal;
