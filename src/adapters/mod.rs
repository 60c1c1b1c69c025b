//! One adapter for each port: the outside world as it really is.

pub mod api_key;
pub mod glesys;
