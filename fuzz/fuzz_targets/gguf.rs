//! Opens arbitrary bytes as a GGUF file and reads all it offers.
#![no_main]

#[path = "../../tests/all/support/gguf_sample.rs"]
mod gguf_sample;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(gguf) = qwen_edge::gguf::Gguf::from_bytes(bytes.to_vec()) {
        gguf_sample::visit(&gguf);
    }
});
