//! What Linux, macOS and other Unix systems have in common.

#[cfg(feature = "cli")]
pub(crate) mod console;
pub(crate) mod files;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) mod maps;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) mod page_cache;
#[cfg(all(feature = "cli", not(target_os = "macos")))]
pub(crate) mod places;
#[cfg(feature = "cli")]
pub(crate) mod signals;
#[cfg(feature = "cli")]
pub(crate) mod standard_input;
#[cfg(feature = "cli")]
pub(crate) mod terminal;

/// The first thread's stack grows to what `ulimit -s` says.
#[cfg(feature = "cli")]
pub(crate) fn run_with_stack<T: Send>(main: impl FnOnce() -> T + Send) -> T {
    main()
}
