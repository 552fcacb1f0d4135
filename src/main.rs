//! The command line of `qwen-edge`.

fn main() {}
