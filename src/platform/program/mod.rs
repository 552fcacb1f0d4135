//! What a program asks of its system and a library does not: signals, terminals, standard input, the browser. Built with
//! feature `cli`.

pub mod browser;
pub mod console;
pub mod main_thread;
pub mod signals;
pub mod standard_input;
pub mod terminal;
