//! What depends on the system: facts about the machine, mapped files, files that appear whole, and for a
//! program its signals and terminals. The only room that asks which system it is built for.
//!
//! Each system has a folder of the same modules; the files here say what is promised of all of them.

pub mod atomic_file;
pub mod disk;
pub(crate) mod file_bytes;
pub mod files;
pub mod machine;
#[cfg(feature = "cli")]
pub mod names;
pub mod page_cache;
#[cfg(feature = "cli")]
pub(crate) mod places;
#[cfg(feature = "cli")]
pub mod program;
pub(crate) mod told_writer;

#[cfg(unix)]
mod unix;

#[cfg(any(target_os = "linux", target_os = "android"))]
#[path = "linux/mod.rs"]
mod system;

#[cfg(target_os = "macos")]
#[path = "macos/mod.rs"]
mod system;

#[cfg(windows)]
#[path = "windows/mod.rs"]
mod system;

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android", target_os = "macos"))))]
#[path = "other_unix/mod.rs"]
mod system;

#[cfg(not(any(unix, windows)))]
compile_error!("qwen-edge runs on Linux, Android, macOS, other Unix systems, and Windows");

#[cfg(target_pointer_width = "32")]
compile_error!(
    "qwen-edge needs a 64-bit system: models are mapped whole, and 32-bit Arm has no kernels. A Raspberry Pi 3, 4, 5 or Zero 2 \
     can run a 64-bit system"
);
