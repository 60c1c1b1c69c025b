//! Cores that come late, stay offline, or are not given back.
