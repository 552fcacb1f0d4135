//! Names of hosts.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// The addresses of a host, by its name or as they are written, with a port.
///
/// # Errors
/// If there are none.
pub fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    keep_to_what_is_inside();
    Ok((host, port).to_socket_addrs()?.collect())
}

/// A static program with the GNU C library looks names up in `/etc/hosts` and by DNS, both of which are inside it. What else the
/// machine's `nsswitch.conf` names would be loaded from libraries that were made for another version of it.
#[cfg(all(target_os = "linux", target_env = "gnu", target_feature = "crt-static"))]
#[allow(unsafe_code)]
fn keep_to_what_is_inside() {
    use std::ffi::{c_char, c_int};
    use std::sync::Once;

    unsafe extern "C" {
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: both are strings that end with a zero and live forever; no look-up is under way, as all come through here.
        unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
    });
}

#[cfg(not(all(target_os = "linux", target_env = "gnu", target_feature = "crt-static")))]
fn keep_to_what_is_inside() {}
