//! What a program asks of its system and a library does not: signals, terminals, standard input. Built with feature `cli`.

pub mod signals;
pub mod standard_input;
pub mod terminal;
