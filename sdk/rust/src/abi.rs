//! What crosses the border between the host and a library.
//!
//! A library exports one function a plugin, of type [`Create`]. It fills in a [`Plugin`], whose one function answers requests
//! in JSON; rows come and go as one array and one schema of the Arrow C Data Interface
//! (<https://arrow.apache.org/docs/format/CDataInterface.html>). Whoever made memory frees it.
//!
//! | request | rows | answer |
//! |---|---|---|
//! | `{"type": "discover"}` | | `{"streams": [{"name", "primaryKey", "cursors", "rows", "partitions"}]}`; the schemas are those of `schema` |
//! | `{"type": "schema", "stream": NAME}`, one that was discovered | out: a schema | `{}` |
//! | `{"type": "check"}` | | `{}` |
//! | `{"type": "read", ...}` | out: a schema | `{}` |
//! | `{"type": "next"}` | out: an array and its schema, unless `end` | `{"end": bool, "position": any, "bytes": n}` |
//! | `{"type": "open", ...}` | in: a schema | `{}` |
//! | `{"type": "write", "fileCounter": n}` | in: an array and its schema | `{"files": [...]}` |
//! | `{"type": "commit", "id": TEXT, "files": [...], "replace": bool}` | | `{}` |

use std::ffi::c_void;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};

/// The version of this interface. A host takes no other.
pub const VERSION: u32 = 1;

/// Well.
pub const DONE: i32 = 0;
/// It failed; the answer is an [`Error`](crate::Error) in JSON.
pub const FAILED: i32 = 1;

/// Text of the library's own memory.
#[repr(C)]
#[derive(Debug)]
pub struct Text {
    /// The first byte, UTF-8.
    pub data: *mut u8,
    /// Bytes.
    pub len: usize,
    /// Bytes that there is room for.
    pub room: usize,
    /// Frees it; null where there is nothing to free.
    pub release: Option<unsafe extern "C" fn(*mut Text)>,
}

impl Text {
    /// No text.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            data: std::ptr::null_mut(),
            len: 0,
            room: 0,
            release: None,
        }
    }
}

/// A plugin, made.
#[repr(C)]
#[derive(Debug)]
pub struct Plugin {
    /// [`VERSION`] of the library.
    pub version: u32,
    /// What the library keeps.
    pub data: *mut c_void,
    /// Answers a request. Rows come in and go out through `array` and `schema`.
    pub call: Option<Call>,
    /// Frees it.
    pub release: Option<unsafe extern "C" fn(*mut Plugin)>,
}

impl Plugin {
    /// No plugin.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            version: 0,
            data: std::ptr::null_mut(),
            call: None,
            release: None,
        }
    }
}

/// Answers a request of `len` bytes of JSON; gives [`DONE`] or [`FAILED`].
pub type Call = unsafe extern "C" fn(
    plugin: *mut Plugin,
    request: *const u8,
    len: usize,
    array: *mut FFI_ArrowArray,
    schema: *mut FFI_ArrowSchema,
    answer: *mut Text,
) -> i32;

/// Makes a plugin from `len` bytes of JSON, its configuration; gives [`DONE`] or [`FAILED`].
pub type Create =
    unsafe extern "C" fn(config: *const u8, len: usize, plugin: *mut Plugin, error: *mut Text) -> i32;
